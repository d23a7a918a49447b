"""Where the high points are: of the run, of each step, of each stretch between two marks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from memprof.allocator import Replay
from memprof.breakdown.attribution.annotations import Itinerary, Mark
from memprof.records import Phase

_TIMELINE_POINTS = 1200  # more than a plot has pixels


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A run of moves in one place, and the first of its highest moments."""

    mark: Mark
    start: int  # the positions of its moves, the end left out
    end: int
    highest: int  # after as many moves
    allocated_bytes: int


def stretches(replay: Replay, itinerary: Itinerary) -> list[Stretch]:
    """Return the run cut at its marks, in order; marks without a move between them are left out."""
    return list(_cut(replay, itinerary))


def _cut(replay: Replay, itinerary: Itinerary) -> Iterator[Stretch]:
    starts = [itinerary[number].position for number in range(len(itinerary))]
    ends = [*starts[1:], len(replay.moves)]
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        first, last = max(start, 0), min(end, len(replay.moves))
        if first < last:
            allocated = replay.allocated_bytes[first:last]
            highest = max(allocated)
            yield Stretch(
                mark=itinerary[number],
                start=first,
                end=last,
                highest=first + allocated.index(highest) + 1,
                allocated_bytes=highest,
            )


def next_highest(places: Sequence[Stretch], peak: int, count: int = 5) -> list[Stretch]:
    """Return the highest stretches beside the one of the peak: one a phase and module, summits before slopes.

    A summit is higher than the stretches before and after it; the slope of the peak itself says nothing new.
    """
    heights = [0, *(place.allocated_bytes for place in places), 0]
    summits = [p for i, p in enumerate(places) if heights[i + 1] > heights[i] and heights[i + 1] >= heights[i + 2]]
    seen = {_place(place) for place in places if place.start < peak <= place.end}
    found: list[Stretch] = []
    for group in (summits, places):
        for place in sorted(group, key=lambda p: -p.allocated_bytes):
            if len(found) < count and _place(place) not in seen:
                seen.add(_place(place))
                found.append(place)
    return sorted(found, key=lambda place: -place.allocated_bytes)


def _place(stretch: Stretch) -> tuple[Phase | None, str | None]:
    return stretch.mark.phase, stretch.mark.module


def by_step(places: Sequence[Stretch]) -> dict[int | None, list[Stretch]]:
    """Return the stretches of each step, in order."""
    steps: dict[int | None, list[Stretch]] = {}
    for place in places:
        steps.setdefault(place.mark.step, []).append(place)
    return steps


def phase_spans(places: Sequence[Stretch]) -> list[tuple[Phase | None, int, int]]:
    """Return the phases of neighbouring stretches with their first position and the one after their last."""
    spans = []
    for phase, group in groupby(places, key=lambda place: place.mark.phase):
        members = list(group)
        spans.append((phase, members[0].start, members[-1].end))
    return spans


def drawn_positions(replay: Replay, start: int, end: int) -> list[int]:
    """Return the positions from `start` to `end` to draw: all, or of each few neighbours the highest."""
    width = -(-(end - start) // _TIMELINE_POINTS) or 1
    positions = [start]
    for left in range(start, end, width):
        allocated = replay.allocated_bytes[left : min(left + width, end)]
        positions.append(left + allocated.index(max(allocated)) + 1)
    if positions[-1] != end:
        positions.append(end)
    return positions
