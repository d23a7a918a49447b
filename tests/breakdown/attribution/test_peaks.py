"""Where the high points of a run are, and how a step is drawn."""

from __future__ import annotations

from memprof.allocator import Replay
from memprof.breakdown.attribution.annotations import PhaseMarker, PhaseTimeline
from memprof.breakdown.attribution.peaks import by_step, drawn_positions, next_highest, phase_spans, stretches
from memprof.records import Phase


def a_replay(*totals: int) -> Replay:
    """A history of which only the totals matter."""
    found = Replay()
    found.requests.extend(range(len(totals)))
    found.allocated_bytes.extend(totals)
    found.reserved_bytes.extend(totals)
    return found


def marks(*places: tuple[int, str]) -> PhaseTimeline:
    return PhaseTimeline(
        [PhaseMarker(position=position, step=1, phase=Phase.FORWARD, module=name) for position, name in places]
    )


def test_a_run_is_cut_at_its_marks_and_empty_ones_are_left_out() -> None:
    found = stretches(a_replay(5, 9, 9, 2, 7), marks((1, "a"), (1, "b"), (3, "c"), (5, "d"), (9, "e")))
    assert [(p.mark.module, p.start, p.end, p.highest, p.allocated_bytes) for p in found] == [
        (None, 0, 1, 1, 5),
        ("b", 1, 3, 2, 9),
        ("c", 3, 5, 5, 7),
    ]


def test_summits_come_before_the_slopes_of_the_peak() -> None:
    places = stretches(a_replay(50, 90, 100, 80, 20, 30, 10), marks(*((i, name) for i, name in enumerate("abcdefg"))))
    found = next_highest(places, peak=3, count=2)
    assert [place.mark.module for place in found] == ["b", "f"]
    assert [p.mark.module for p in next_highest(places, peak=3)] == ["b", "d", "a", "f", "e"]


def test_steps_and_phases_are_told_apart() -> None:
    itinerary = PhaseTimeline(
        [
            PhaseMarker(position=0, step=1, phase=Phase.FORWARD, module="a"),
            PhaseMarker(position=1, step=1, phase=Phase.FORWARD, module="b"),
            PhaseMarker(position=2, step=1, phase=Phase.BACKWARD),
            PhaseMarker(position=3, step=2, phase=Phase.FORWARD),
        ]
    )
    places = stretches(a_replay(1, 2, 3, 4), itinerary)
    assert {step: len(group) for step, group in by_step(places).items()} == {1: 3, 2: 1}
    assert phase_spans(places) == [(Phase.FORWARD, 0, 2), (Phase.BACKWARD, 2, 3), (Phase.FORWARD, 3, 4)]


def test_a_short_step_is_drawn_whole_and_a_long_one_by_its_highest() -> None:
    assert drawn_positions(a_replay(1, 2, 3), 0, 3) == [0, 1, 2, 3]
    totals = [position * 7919 % 5000 for position in range(5000)]
    drawn = drawn_positions(a_replay(*totals), 0, 5000)
    assert len(drawn) <= 1202
    assert max(totals[position - 1] for position in drawn[1:]) == max(totals)
    assert (drawn[0], drawn[-1]) == (0, 5000)
