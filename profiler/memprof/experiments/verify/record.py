"""The nouns of a verification, what tells a card and its phantom apart, and the record on disk."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from memprof.errors import ResultError
from memprof.records import SCHEMA_VERSION, Environment, Outcome, Status
from memprof.results.diff import Mismatch, find_mismatches

FIGURES = ("requested", "allocated", "reserved")


@dataclass(frozen=True, kw_only=True)
class Figures:
    """How one point ended on one side, and its peaks; ``None`` where it did not get to its end."""

    status: Status
    requested_bytes: int | None = None
    allocated_bytes: int | None = None
    reserved_bytes: int | None = None
    workspace_known: bool | None = None
    error: str | None = None

    @classmethod
    def of(cls, outcome: Outcome) -> Figures:
        """Return the figures of an outcome. A run that ended early has peaks that say nothing."""
        reading = outcome.reading
        if reading is None or outcome.status is not Status.OK:
            return cls(status=outcome.status, error=outcome.error)
        return cls(
            status=outcome.status,
            requested_bytes=reading.peak_requested_bytes,
            allocated_bytes=reading.peak_allocated_bytes,
            reserved_bytes=reading.peak_reserved_bytes,
            workspace_known=reading.workspace_known,
        )


@dataclass(frozen=True, kw_only=True)
class Row:
    """One test case on both sides."""

    model: str  # "resnet18, batch 16"
    point: str  # "adam, fp32"
    card: Figures
    phantom: Figures

    def difference_bytes(self, figure: str) -> int | None:
        """Return one of `FIGURES` on the phantom less on the card."""
        card, phantom = (getattr(side, f"{figure}_bytes") for side in (self.card, self.phantom))
        return None if card is None or phantom is None else phantom - card

    @property
    def is_equal(self) -> bool:
        """Whether both ended alike and with the same peaks."""
        return self.card.status is self.phantom.status and not any(map(self.difference_bytes, FIGURES))

    @property
    def reason(self) -> str:
        """What a difference comes from, as far as the figures tell; empty where there is none."""
        if self.card.status is not self.phantom.status:
            ends = ((side, figures) for side, figures in (("card", self.card), ("phantom", self.phantom)))
            return "; ".join(f"{side}: {_end(figures)}" for side, figures in ends)
        if self.is_equal:
            return ""
        if self.phantom.workspace_known is False:
            return "cuDNN did not tell every workspace"
        if self.difference_bytes("requested") == 0:
            return "the peak asked for is the same; blocks lie otherwise"
        return "another workspace, or a path that depends on values"


@dataclass(frozen=True, kw_only=True)
class Verification:
    """A card beside its phantom: the circumstances of both, and a row for each test case.

    Each side's environment has its source, so that nothing is called measured that is not.
    """

    card: Environment
    phantom: Environment
    rows: tuple[Row, ...]

    @property
    def unlike(self) -> tuple[Mismatch, ...]:
        """The versions in which the two sides differ; then their figures do not compare."""
        apart = ("source", "GPU")  # as they are meant to be
        return tuple(found for found in find_mismatches(self.card, self.phantom) if found.name not in apart)

    @property
    def equal(self) -> int:
        """How many rows are equal to the byte."""
        return sum(row.is_equal for row in self.rows)


def to_json(found: Verification) -> dict[str, Any]:
    """Return the record as it is saved."""
    rows = [{**asdict(row), "reason": row.reason} for row in found.rows]
    return {"schema_version": SCHEMA_VERSION, **asdict(found), "rows": rows}


def file_name(found: Verification) -> str:
    """Return the name of the record's file: card, torch and cuDNN."""
    parts = (found.card.gpu, f"torch-{found.card.torch_version}", f"cudnn-{found.card.cudnn_version}")
    return "-".join(re.sub(r"[^a-z0-9.+]+", "-", str(part).lower()).strip("-") for part in parts) + ".json"


def load_verification(file: Path) -> Verification:
    """Return the record in `file`.

    Raises:
        ResultError: it is no record of a verification.
    """
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        rows = _without(document["rows"], "reason")
        return TypeAdapter(Verification).validate_python({**_only(document, "card", "phantom"), "rows": rows})
    except OSError as error:
        raise ResultError(f"{file}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise ResultError(f"{file}: is no record of memprof verify ({type(error).__name__})") from None


def _only(document: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: document[key] for key in keys}


def _without(rows: Sequence[dict[str, Any]], left_out: str) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != left_out} for row in rows]


def _end(figures: Figures) -> str:
    return figures.status.value + (f" ({figures.error})" if figures.error else "")
