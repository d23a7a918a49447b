"""How much there was of each part at each moment: one walk along the history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from memprof.allocator import PREEXISTING, Replay
from memprof.breakdown.attribution.classify import AllocationInfo
from memprof.breakdown.explanation import ROUNDING, Category, Parts

# The parts of what is allocated, in the order in which they are shown.
ALLOCATED_PARTS = (*(category.value for category in Category), ROUNDING)
_ROUNDING = len(ALLOCATED_PARTS) - 1
_NUMBERS = {category: number for number, category in enumerate(Category)}


@dataclass(frozen=True, kw_only=True)
class Totals:
    """`at` has the parts at each position that was asked for, `highest` the most of each part over the whole run."""

    at: Mapping[int, Parts]
    highest: Parts


def walk(replay: Replay, holdings: Sequence[AllocationInfo], positions: Iterable[int]) -> Totals:
    """Return the parts after as many requests as each of `positions` says."""
    wanted = sorted(set(positions), reverse=True)
    numbers = [_NUMBERS[holding.category] for holding in holdings]
    sums, at = [0] * len(ALLOCATED_PARTS), {}
    allocations = replay.allocations
    for number, allocation in zip(numbers, allocations, strict=True):
        if allocation.allocated_at == PREEXISTING:
            sums[number] += allocation.requested_bytes
            sums[_ROUNDING] += allocation.block_bytes - allocation.requested_bytes
    highest = list(sums)
    for position, move in enumerate(replay.requests):
        if wanted and wanted[-1] == position:
            at[wanted.pop()] = _named(sums)
        index, sign = (move, 1) if move >= 0 else (~move, -1)
        allocation, number = allocations[index], numbers[index]
        sums[number] += sign * allocation.requested_bytes
        sums[_ROUNDING] += sign * (allocation.block_bytes - allocation.requested_bytes)
        if sign > 0:
            highest[number] = max(highest[number], sums[number])
            highest[_ROUNDING] = max(highest[_ROUNDING], sums[_ROUNDING])
    at.update((position, _named(sums)) for position in wanted)  # the end
    return Totals(at=at, highest=_named(highest))


def _named(sums: Sequence[int]) -> Parts:
    return dict(zip(ALLOCATED_PARTS, sums, strict=True))
