"""Marks as places: where each stretch ends, and backward passes that only the stacks tell of."""

from __future__ import annotations

from memprof.breakdown.attribution import Annotations, PhaseMarker
from memprof.breakdown.attribution.annotations import PhaseTimeline
from memprof.records import Phase


def place(position: int, step: int | None, phase: Phase | None, module: str | None = None) -> PhaseMarker:
    return PhaseMarker(position=position, step=step, phase=phase, module=module)


STEPS = [
    place(2, 1, Phase.FORWARD, "a"),
    place(5, 1, Phase.FORWARD, "b"),
    place(7, 1, Phase.BACKWARD),
    place(7, 1, Phase.BACKWARD, "b"),
    place(9, 1, Phase.FORWARD, "a"),
    place(12, 1, Phase.BACKWARD),
    place(20, 2, Phase.FORWARD),
]


def test_each_position_has_the_last_mark_before_it() -> None:
    itinerary = PhaseTimeline(STEPS)
    found = [itinerary[itinerary.number_at(position)].position for position in (0, 2, 4, 5, 8, 25)]
    assert found == [-1, 2, 2, 5, 7, 20]
    assert itinerary[itinerary.number_at(7)].module == "b"  # the later of two at one position


def test_each_mark_knows_where_its_place_phase_and_step_end() -> None:
    itinerary = PhaseTimeline(STEPS)
    assert [itinerary.end_of(number) for number in range(len(itinerary))] == [2, 5, 7, 9, 9, 12, 20, None]
    assert itinerary.phase_ends == [2, 7, 7, 9, 9, 12, 20, None]
    assert itinerary.step_ends == [2, 20, 20, 20, 20, 20, 20, None]


def test_each_mark_knows_the_next_backward_pass_of_its_step() -> None:
    assert PhaseTimeline(STEPS).backward_begins == [None, 7, 7, None, None, 12, None, None]


def test_backward_passes_are_put_where_the_stacks_show_them() -> None:
    notes = Annotations(marks=[place(0, 1, Phase.FORWARD), place(10, 1, Phase.OPTIMIZER), place(20, 2, Phase.BACKWARD)])
    within = {3, 4, 5, 12, 21}
    found = notes.with_backward_passes((position, position in within) for position in (0, 2, 3, 4, 5, 6, 12, 21, 22))
    assert [(mark.position, mark.step, mark.phase) for mark in found.marks] == [
        (0, 1, Phase.FORWARD),
        (3, 1, Phase.BACKWARD),
        (6, 1, Phase.FORWARD),
        (10, 1, Phase.OPTIMIZER),
        (12, 1, Phase.BACKWARD),
        (20, 2, Phase.BACKWARD),
    ]
    assert len(notes.marks) == 3
