"""Find the peaks of a run: of the whole run, of each step, and of each interval between two markers."""

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
    """The requests between two markers, and the first position with the highest allocated bytes."""

    marker: PhaseMarker
    start: int  # the positions of its requests, without the end
    end: int
    peak_position: int
    allocated_bytes: int  # at the peak


def split_into_intervals(replay: Replay, timeline: PhaseTimeline) -> list[Interval]:
    """Split the run at its markers, in order; a marker without a request before the next one is omitted."""
    return list(_split(replay, timeline))


def _split(replay: Replay, timeline: PhaseTimeline) -> Iterator[Interval]:
    starts = [timeline[index].position for index in range(len(timeline))]
    ends = [*starts[1:], len(replay.requests)]
    for index, (start, end) in enumerate(zip(starts, ends, strict=True)):
        first, last = max(start, 0), min(end, len(replay.requests))
        if first < last:
            allocated = replay.allocated_bytes[first:last]
            highest = max(allocated)
            yield Interval(
                marker=timeline[index],
                start=first,
                end=last,
                peak_position=first + allocated.index(highest) + 1,
                allocated_bytes=highest,
            )


def find_other_peaks(intervals: Sequence[Interval], peak: int, count: int = 5) -> list[Interval]:
    """Return the highest intervals apart from that of the peak: one per phase and module, local maxima first.

    A local maximum is higher than the intervals before and after it. The neighbours of the peak add nothing new.
    """
    heights = [0, *(interval.allocated_bytes for interval in intervals), 0]
    maxima = [
        one for i, one in enumerate(intervals) if heights[i + 1] > heights[i] and heights[i + 1] >= heights[i + 2]
    ]
    seen = {_phase_and_module(interval) for interval in intervals if interval.start < peak <= interval.end}
    found: list[Interval] = []
    for group in (maxima, intervals):
        for interval in sorted(group, key=lambda one: -one.allocated_bytes):
            if len(found) < count and _phase_and_module(interval) not in seen:
                seen.add(_phase_and_module(interval))
                found.append(interval)
    return sorted(found, key=lambda interval: -interval.allocated_bytes)


def _phase_and_module(interval: Interval) -> tuple[Phase | None, str | None]:
    return interval.marker.phase, interval.marker.module


def by_step(intervals: Sequence[Interval]) -> dict[int | None, list[Interval]]:
    """Return the intervals of each step, in order."""
    steps: dict[int | None, list[Interval]] = {}
    for interval in intervals:
        steps.setdefault(interval.marker.step, []).append(interval)
    return steps


def phase_spans(intervals: Sequence[Interval]) -> list[tuple[Phase | None, int, int]]:
    """Return each phase of consecutive intervals with its first position and the position after its last."""
    spans = []
    for phase, group in groupby(intervals, key=lambda interval: interval.marker.phase):
        members = list(group)
        spans.append((phase, members[0].start, members[-1].end))
    return spans


def drawn_positions(replay: Replay, start: int, end: int) -> list[int]:
    """Return the positions from `start` to `end` to draw: all of them, or the highest of every few neighbours."""
    width = -(-(end - start) // _TIMELINE_POINTS) or 1
    positions = [start]
    for first in range(start, end, width):
        allocated = replay.allocated_bytes[first : min(first + width, end)]
        positions.append(first + allocated.index(max(allocated)) + 1)
    if positions[-1] != end:
        positions.append(end)
    return positions
