"""The peaks of a run, and the positions at which a step is drawn."""

from __future__ import annotations

from memprof.allocator import Replay
from memprof.breakdown.attribution.annotations import PhaseMarker, PhaseTimeline
from memprof.breakdown.attribution.peaks import (
    by_step,
    drawn_positions,
    find_other_peaks,
    phase_spans,
    split_into_intervals,
)
from memprof.records import Phase


def a_replay(*totals: int) -> Replay:
    """A history in which only the totals matter."""
    found = Replay()
    found.requests.extend(range(len(totals)))
    found.allocated_bytes.extend(totals)
    found.reserved_bytes.extend(totals)
    return found


def timeline(*markers: tuple[int, str]) -> PhaseTimeline:
    return PhaseTimeline(
        [PhaseMarker(position=position, step=1, phase=Phase.FORWARD, module=name) for position, name in markers]
    )


def test_split_into_intervals_omits_empty_intervals() -> None:
    found = split_into_intervals(a_replay(5, 9, 9, 2, 7), timeline((1, "a"), (1, "b"), (3, "c"), (5, "d"), (9, "e")))
    assert [(p.marker.module, p.start, p.end, p.peak_position, p.allocated_bytes) for p in found] == [
        (None, 0, 1, 1, 5),
        ("b", 1, 3, 2, 9),
        ("c", 3, 5, 5, 7),
    ]


def test_find_other_peaks_puts_local_maxima_first() -> None:
    intervals = split_into_intervals(
        a_replay(50, 90, 100, 80, 20, 30, 10), timeline(*((i, name) for i, name in enumerate("abcdefg")))
    )
    found = find_other_peaks(intervals, peak=3, count=2)
    assert [place.marker.module for place in found] == ["b", "f"]
    assert [p.marker.module for p in find_other_peaks(intervals, peak=3)] == ["b", "d", "a", "f", "e"]


def test_by_step_and_phase_spans_group_intervals() -> None:
    phase_timeline = PhaseTimeline(
        [
            PhaseMarker(position=0, step=1, phase=Phase.FORWARD, module="a"),
            PhaseMarker(position=1, step=1, phase=Phase.FORWARD, module="b"),
            PhaseMarker(position=2, step=1, phase=Phase.BACKWARD),
            PhaseMarker(position=3, step=2, phase=Phase.FORWARD),
        ]
    )
    intervals = split_into_intervals(a_replay(1, 2, 3, 4), phase_timeline)
    assert {step: len(group) for step, group in by_step(intervals).items()} == {1: 3, 2: 1}
    assert phase_spans(intervals) == [(Phase.FORWARD, 0, 2), (Phase.BACKWARD, 2, 3), (Phase.FORWARD, 3, 4)]


def test_drawn_positions_of_long_step_keep_its_maximum() -> None:
    assert drawn_positions(a_replay(1, 2, 3), 0, 3) == [0, 1, 2, 3]
    totals = [position * 7919 % 5000 for position in range(5000)]
    drawn = drawn_positions(a_replay(*totals), 0, 5000)
    assert len(drawn) <= 1202
    assert max(totals[position - 1] for position in drawn[1:]) == max(totals)
    assert (drawn[0], drawn[-1]) == (0, 5000)
