"""The data model of a verification, the differences between a GPU and its phantom, and the record on disk."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from memprof.errors import ResultError
from memprof.records import SCHEMA_VERSION, Environment, Outcome, Status
from memprof.results.diff import Mismatch, find_mismatches
from memprof.results.serialize import parse

FIGURES = ("requested", "allocated", "reserved")
_MEANT_TO_DIFFER = ("source", "GPU")  # between a real GPU and its phantom


@dataclass(frozen=True, kw_only=True)
class Figures:
    """How one point ended on one device, and its peaks; ``None`` if it did not run to its end."""

    status: Status
    requested_bytes: int | None = None
    allocated_bytes: int | None = None
    reserved_bytes: int | None = None
    workspace_known: bool | None = None
    error: str | None = None

    @classmethod
    def of(cls, outcome: Outcome) -> Figures:
        """Return the figures of an outcome; the peaks of a run that ended early are left out."""
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
    """One test case on the GPU and on its phantom."""

    model: str  # "resnet18, batch 16"
    point: str  # "adam, fp32"
    gpu: Figures
    phantom: Figures

    def difference_bytes(self, figure: str) -> int | None:
        """Return one of `FIGURES` on the phantom minus the same on the GPU."""
        measured, emulated = (getattr(side, f"{figure}_bytes") for side in (self.gpu, self.phantom))
        return None if measured is None or emulated is None else emulated - measured

    @property
    def is_equal(self) -> bool:
        """Whether both ended with the same status and the same peaks."""
        return self.gpu.status is self.phantom.status and not any(map(self.difference_bytes, FIGURES))

    @property
    def reason(self) -> str:
        """The likely reason for a difference, derived from the figures; empty if there is no difference."""
        if self.gpu.status is not self.phantom.status:
            return f"GPU: {_end(self.gpu)}; phantom: {_end(self.phantom)}"
        if self.is_equal:
            return ""
        if self.phantom.workspace_known is False:
            return "cuDNN did not report the size of every workspace"
        if self.difference_bytes("requested") == 0:
            return "equal requested bytes; the allocator's blocks differ"
        return "a different workspace, or a code path that depends on tensor values"


@dataclass(frozen=True, kw_only=True)
class Verification:
    """A GPU and its phantom: the environments of both, and a row for each test case.

    Each environment has its source, so that an emulated figure is never called measured.
    """

    gpu: Environment
    phantom: Environment
    rows: tuple[Row, ...]

    @property
    def mismatches(self) -> tuple[Mismatch, ...]:
        """The versions in which the two sides differ; with any of them, the figures do not compare."""
        return tuple(one for one in find_mismatches(self.gpu, self.phantom) if one.name not in _MEANT_TO_DIFFER)

    @property
    def equal(self) -> int:
        """The number of rows that are equal to the byte."""
        return sum(row.is_equal for row in self.rows)


def to_json(found: Verification) -> dict[str, Any]:
    """Return the record as it is saved."""
    rows = [{**asdict(row), "reason": row.reason} for row in found.rows]
    return {"schema_version": SCHEMA_VERSION, **asdict(found), "rows": rows}


def file_name(found: Verification) -> str:
    """Return the file name of the record: GPU, PyTorch and cuDNN."""
    parts = (found.gpu.gpu, f"torch-{found.gpu.torch_version}", f"cudnn-{found.gpu.cudnn_version}")
    return "-".join(re.sub(r"[^a-z0-9.+]+", "-", str(part).lower()).strip("-") for part in parts) + ".json"


def load_verification(file: Path) -> Verification:
    """Return the record in `file`.

    Raises:
        ResultError: the file cannot be read, is not a record of a verification, or has another schema.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ResultError(f"{file}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise ResultError(f"{file}: is not UTF-8") from None
    return parse(text, Verification, str(file))


def _end(figures: Figures) -> str:
    return figures.status.value + (f" ({figures.error})" if figures.error else "")
