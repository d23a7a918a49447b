"""Several ranks of one run in a table: a row for each, and one with the most that any of them takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from memprof.records import Reading, RunRecord, Status
from memprof.results.fullest import by_point, fullest_records

MOST = "max"  # in the column of the rank


def several_ranks(records: Sequence[RunRecord]) -> bool:
    """Return whether a point ran on several ranks."""
    return any(len(ranks) > 1 for ranks in by_point(records))


def with_most(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Return the records, and after the ranks of each point one without a rank: the highest figure of each kind."""
    shown: list[RunRecord] = []
    for ranks in by_point(records):
        shown += ranks if len(ranks) == 1 else [*ranks, _most(ranks)]
    return shown


def rank_text(record: RunRecord) -> str:
    """Return the cell of the column that names the rank."""
    return MOST if record.rank is None else f"{record.rank:,}"


def fullest_note(records: Sequence[RunRecord]) -> str | None:
    """Return which ranks have the highest peaks; ``None`` if there is only one, or if they differ by point."""
    found = {_fullest_pair(ranks) for ranks in by_point(records) if len(ranks) > 1}
    if len(found) != 1 or (pair := found.pop()) is None:
        return None
    allocated, reserved = pair
    if allocated == reserved:
        return f"The fullest rank is {allocated:,}, by allocated and by reserved memory."
    return f"The fullest rank is {allocated:,} by allocated memory, and {reserved:,} by reserved memory."


def _fullest_pair(ranks: Sequence[RunRecord]) -> tuple[int, int] | None:
    read = [
        (one.rank, one.reading) for one in ranks if one.status is Status.OK and one.reading and one.rank is not None
    ]
    if len(read) < len(ranks):
        return None
    allocated, _ = max(read, key=lambda one: one[1].peak_allocated_bytes)
    reserved, _ = max(read, key=lambda one: one[1].peak_reserved_bytes)
    return allocated, reserved


def _most(ranks: Sequence[RunRecord]) -> RunRecord:
    (fullest,) = fullest_records(ranks)
    readings = [one.reading for one in ranks if one.reading is not None]
    return replace(fullest, rank=None, error=None, reading=_highest(readings) if readings else None)


def _highest(readings: Sequence[Reading]) -> Reading:
    def most(of: Callable[[Reading], int | None]) -> int | None:
        return max((size for one in readings if (size := of(one)) is not None), default=None)

    return replace(
        readings[0],
        peak_allocated_bytes=most(lambda one: one.peak_allocated_bytes) or 0,
        peak_reserved_bytes=most(lambda one: one.peak_reserved_bytes) or 0,
        nvml_used_bytes=most(lambda one: one.nvml_used_bytes),
    )
