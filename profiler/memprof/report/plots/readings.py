"""What plots take from records: peaks of runs that finished, analytic parts, and what all records share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from memprof.records import Breakdown, RunRecord, Source, Status
from memprof.report.figures import CATEGORIES
from memprof.report.labels import gpu_label, source_note
from memprof.report.plots.elements import Heading, Limit
from memprof.units import format_bytes

T = TypeVar("T")

ANALYTIC_PARTS = tuple(figure.key.removesuffix("_bytes") for figure in CATEGORIES)
LIMIT_NEAR = 2.5  # a limit above this multiple of the highest value would squash the data below it
_STACK_NOTE = "The stack is the sum of the analytic categories, which need not all exist at the peak."


def heading(about: str, records: Sequence[RunRecord], *, stack: bool = True, more: str = "") -> Heading:
    """Return the heading with the circumstances that all records share; the plot names those that differ."""
    first = records[0]
    model = shared(records, lambda record: record.model)
    stacked = stack and first.source is not Source.ANALYTIC and any(record.breakdown for record in records)
    notes = (source_note(first.source), _STACK_NOTE if stacked else "", more)
    return Heading(
        title=f"{model}: {about}" if model else about,
        circumstances=" · ".join(part for part in _circumstances(records) if part),
        note=" ".join(part for part in notes if part),
        source=first.source,
    )


def _circumstances(records: Sequence[RunRecord]) -> tuple[str | None, ...]:
    first = records[0]
    gpu = shared(records, lambda record: record.environment.gpu)
    total_bytes = shared(records, lambda record: record.environment.gpu_total_bytes)
    cudnn = shared(records, lambda record: record.environment.cudnn_version)
    size = shared(records, lambda record: record.batch_size)
    return (
        gpu_label(gpu, first.source) if gpu else None,
        format_bytes(total_bytes) if total_bytes else None,
        first.source.value,
        shared(records, lambda record: record.optimizer),
        shared(records, lambda record: record.precision),
        shared(records, lambda record: record.mode),
        None if size is None else f"batch {size:,}",
        f"torch {first.environment.torch_version}",
        f"cuDNN {cudnn}" if cudnn else None,
    )


def shared(records: Sequence[RunRecord], value: Callable[[RunRecord], T]) -> T | None:
    """Return the value that all records have, or ``None`` if they differ."""
    values = {value(record) for record in records}
    return values.pop() if len(values) == 1 else None


def limit_of(records: Sequence[RunRecord]) -> Limit | None:
    """Return the memory of the records' GPU, if they share it."""
    total_bytes = shared(records, lambda record: record.environment.gpu_total_bytes)
    gpu = shared(records, lambda record: record.environment.gpu)
    return Limit(gpu=gpu or "", total_bytes=total_bytes) if total_bytes else None


def highest_bytes(records: Sequence[RunRecord]) -> int:
    """Return the highest figure of the runs that finished; if none did, that of all runs, at most the limit."""
    finished = [record for record in records if record.status is Status.OK]
    values = [value or 0 for record in finished for value in (peak(record), reserved(record), total(record))]
    if values:
        return max(values)
    limit = limit_of(records)
    return limit.total_bytes if limit else max(total(record) or 0 for record in records)


def peak(record: RunRecord) -> int | None:
    """Return peak allocated of a run that finished; what others reached is not their peak."""
    return record.reading.peak_allocated_bytes if record.reading and record.status is Status.OK else None


def reserved(record: RunRecord) -> int | None:
    """Return peak reserved of a run that finished."""
    return record.reading.peak_reserved_bytes if record.reading and record.status is Status.OK else None


def estimate(record: RunRecord) -> int | None:
    """Return the analytic estimate of the peak."""
    return record.breakdown.estimate_bytes if record.breakdown else None


def total(record: RunRecord) -> int | None:
    """Return the sum of the analytic categories, if all are known."""
    return record.breakdown.total_bytes if record.breakdown else None


def analytic_parts(breakdown: Breakdown | None) -> dict[str, int] | None:
    """Return the seven parts by name; ``None`` if one is unknown, because a stack without it would be too low."""
    if breakdown is None or breakdown.total_bytes is None:
        return None
    return {part: getattr(breakdown, f"{part}_bytes") for part in ANALYTIC_PARTS}
