"""Where the high points are: of the run, of each step, of each stretch between two marks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from memprof.allocator import Replay
from memprof.breakdown.attribution.annotations import PhaseMarker, PhaseTimeline
from memprof.records import Phase

_TIMELINE_POINTS = 1200  # more than a plot has pixels


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A run of requests in one place, and the first of its highest moments."""

    mark: PhaseMarker
    start: int  # the positions of its requests, the end left out
    end: int
    highest: int  # after as many requests
    allocated_bytes: int


def stretches(replay: Replay, itinerary: PhaseTimeline) -> list[Interval]:
    """Return the run cut at its marks, in order; marks without a move between them are left out."""
    return list(_cut(replay, itinerary))


def _cut(replay: Replay, itinerary: PhaseTimeline) -> Iterator[Interval]:
    starts = [itinerary[number].position for number in range(len(itinerary))]
    ends = [*starts[1:], len(replay.requests)]
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        first, last = max(start, 0), min(end, len(replay.requests))
        if first < last:
            allocated = replay.allocated_bytes[first:last]
            highest = max(allocated)
            yield Interval(
                mark=itinerary[number],
                start=first,
                end=last,
                highest=first + allocated.index(highest) + 1,
                allocated_bytes=highest,
            )


def next_highest(places: Sequence[Interval], peak: int, count: int = 5) -> list[Interval]:
    """Return the highest stretches beside the one of the peak: one a phase and module, summits before slopes.

    A summit is higher than the stretches before and after it; the slope of the peak itself says nothing new.
    """
    heights = [0, *(place.allocated_bytes for place in places), 0]
    summits = [p for i, p in enumerate(places) if heights[i + 1] > heights[i] and heights[i + 1] >= heights[i + 2]]
    seen = {_place(place) for place in places if place.start < peak <= place.end}
    found: list[Interval] = []
    for group in (summits, places):
        for place in sorted(group, key=lambda p: -p.allocated_bytes):
            if len(found) < count and _place(place) not in seen:
                seen.add(_place(place))
                found.append(place)
    return sorted(found, key=lambda place: -place.allocated_bytes)


def _place(stretch: Interval) -> tuple[Phase | None, str | None]:
    return stretch.mark.phase, stretch.mark.module


def by_step(places: Sequence[Interval]) -> dict[int | None, list[Interval]]:
    """Return the stretches of each step, in order."""
    steps: dict[int | None, list[Interval]] = {}
    for place in places:
        steps.setdefault(place.mark.step, []).append(place)
    return steps


def phase_spans(places: Sequence[Interval]) -> list[tuple[Phase | None, int, int]]:
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
