"""Add up the parts at positions of the history, in one pass over it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from memprof.allocator import PREEXISTING, Replay
from memprof.breakdown.attribution.classify import AllocationInfo
from memprof.breakdown.explanation import ROUNDING, Category, Parts

# The parts of the allocated bytes, in the order in which they are shown.
ALLOCATED_PARTS = (*(category.value for category in Category), ROUNDING)
_ROUNDING = len(ALLOCATED_PARTS) - 1
_INDICES = {category: index for index, category in enumerate(Category)}


@dataclass(frozen=True, kw_only=True)
class Totals:
    """`at` has the parts at each requested position, `highest` the maximum of each part over the whole run."""

    at: Mapping[int, Parts]
    highest: Parts


def total_parts(replay: Replay, infos: Sequence[AllocationInfo], positions: Iterable[int]) -> Totals:
    """Return the parts at each of `positions`, the number of requests before it."""
    wanted = sorted(set(positions), reverse=True)
    indices = [_INDICES[info.category] for info in infos]
    sums, at = [0] * len(ALLOCATED_PARTS), {}
    allocations = replay.allocations
    for index, allocation in zip(indices, allocations, strict=True):
        if allocation.allocated_at == PREEXISTING:
            sums[index] += allocation.requested_bytes
            sums[_ROUNDING] += allocation.block_bytes - allocation.requested_bytes
    highest = list(sums)
    for position, request in enumerate(replay.requests):
        if wanted and wanted[-1] == position:
            at[wanted.pop()] = _named(sums)
        number, sign = (request, 1) if request >= 0 else (~request, -1)
        allocation, index = allocations[number], indices[number]
        sums[index] += sign * allocation.requested_bytes
        sums[_ROUNDING] += sign * (allocation.block_bytes - allocation.requested_bytes)
        if sign > 0:
            highest[index] = max(highest[index], sums[index])
            highest[_ROUNDING] = max(highest[_ROUNDING], sums[_ROUNDING])
    at.update((position, _named(sums)) for position in wanted)  # the end
    return Totals(at=at, highest=_named(highest))


def _named(sums: Sequence[int]) -> Parts:
    return dict(zip(ALLOCATED_PARTS, sums, strict=True))
