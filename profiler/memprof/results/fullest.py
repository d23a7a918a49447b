"""The fullest rank: of several ranks of one run, the one whose GPU has the least memory left."""

from __future__ import annotations

from collections.abc import Sequence

from memprof.records import Reading, RunRecord, Status
from memprof.results.rows import RowName, name_of

_SEVERITY = {Status.OK: 0, Status.OOM: 2}  # other ends are between: they say nothing about memory


def fullness(status: Status, reading: Reading | None) -> tuple[int, int]:
    """Return the sort key of a rank: out of memory above other failures, and those above the bytes on the GPU."""
    return _SEVERITY.get(status, 1), 0 if reading is None else reading.device_bytes


def fullest_records(records: Sequence[RunRecord]) -> tuple[RunRecord, ...]:
    """Return, of the ranks of each point, the record of the fullest; other records as they are."""
    return tuple(max(ranks, key=lambda one: fullness(one.status, one.reading)) for ranks in by_point(records))


def by_point(records: Sequence[RunRecord]) -> list[list[RunRecord]]:
    """Return the records of each point together: one, or one for each rank that ran."""
    points = dict[RowName, list[RunRecord]]()
    for record in records:
        points.setdefault(name_of(record)._replace(rank=None), []).append(record)
    return list(points.values())
