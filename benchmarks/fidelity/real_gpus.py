"""Read and summarize the figures of a real GPU and its phantom in the same programs, from docs/fidelity/."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.csv_rows import read_rows
from benchmarks.fidelity.truth import FOLDER


@dataclass(frozen=True, kw_only=True)
class Peaks:
    """The peaks of one side in bytes; reserved is ``None`` if it was not recorded."""

    requested_bytes: int
    allocated_bytes: int
    reserved_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class ModelPeaks:
    """The peaks of one model at one batch size, on a real GPU and on its phantom."""

    family: str
    model: str
    batch_size: int
    measured: Peaks
    emulated: Peaks

    @property
    def allocated_error(self) -> float:
        """Emulated minus measured, divided by measured."""
        return self.emulated.allocated_bytes / self.measured.allocated_bytes - 1


@dataclass(frozen=True, kw_only=True)
class Family:
    """The summary of one family of models; errors are absolute, of allocated bytes."""

    name: str
    points: int
    equal_requested: int
    equal_allocated: int
    median_error: float
    worst: ModelPeaks


@dataclass(frozen=True, kw_only=True)
class LargestBatch:
    """The result of `memprof max-batch` for a config, on the real GPU and on its phantom."""

    config: str
    measured: int
    emulated: int


def read_models(file: Path = FOLDER / "nvidia-h200-models.csv") -> tuple[ModelPeaks, ...]:
    """Return the rows of the file, in order."""
    return tuple(
        ModelPeaks(
            family=row["family"],
            model=row["model"],
            batch_size=int(row["batch_size"]),
            measured=_peaks(row, "measured"),
            emulated=_peaks(row, "emulated"),
        )
        for row in read_rows(file)
    )


def read_largest(file: Path = FOLDER / "nvidia-h200-max-batch.csv") -> tuple[LargestBatch, ...]:
    """Return the rows of the file, in order."""
    return tuple(
        LargestBatch(
            config=row["config"],
            measured=int(row["measured_largest_batch_size"]),
            emulated=int(row["emulated_largest_batch_size"]),
        )
        for row in read_rows(file)
    )


def families(models: Sequence[ModelPeaks]) -> tuple[Family, ...]:
    """Return the summary of each family, in order of appearance."""
    names = dict.fromkeys(model.family for model in models)
    return tuple(_family(name, [model for model in models if model.family == name]) for name in names)


def detection(found: Sequence[Family]) -> Family:
    """Return the family of detection models, which choose by value and so are the least exact."""
    return next(family for family in found if family.name.endswith("detection"))


def _family(name: str, models: Sequence[ModelPeaks]) -> Family:
    return Family(
        name=name,
        points=len(models),
        equal_requested=sum(one.measured.requested_bytes == one.emulated.requested_bytes for one in models),
        equal_allocated=sum(one.measured.allocated_bytes == one.emulated.allocated_bytes for one in models),
        median_error=median(abs(one.allocated_error) for one in models),
        worst=max(models, key=lambda one: abs(one.allocated_error)),
    )


def _peaks(row: dict[str, str], side: str) -> Peaks:
    requested, allocated, reserved = (row[f"{side}_{name}_bytes"] for name in ("requested", "allocated", "reserved"))
    return Peaks(
        requested_bytes=int(requested),
        allocated_bytes=int(allocated),
        reserved_bytes=int(reserved) if reserved else None,
    )
