"""The phase timeline: where phases and steps end, and backward passes that only the stacks show."""

from __future__ import annotations

from memprof.breakdown.attribution import Annotations, PhaseMarker
from memprof.breakdown.attribution.annotations import PhaseTimeline
from memprof.records import Phase


def marker(position: int, step: int | None, phase: Phase | None, module: str | None = None) -> PhaseMarker:
    return PhaseMarker(position=position, step=step, phase=phase, module=module)


STEPS = [
    marker(2, 1, Phase.FORWARD, "a"),
    marker(5, 1, Phase.FORWARD, "b"),
    marker(7, 1, Phase.BACKWARD),
    marker(7, 1, Phase.BACKWARD, "b"),
    marker(9, 1, Phase.FORWARD, "a"),
    marker(12, 1, Phase.BACKWARD),
    marker(20, 2, Phase.FORWARD),
]


def test_phase_timeline_position_has_last_marker_before() -> None:
    phase_timeline = PhaseTimeline(STEPS)
    found = [phase_timeline[phase_timeline.index_at(position)].position for position in (0, 2, 4, 5, 8, 25)]
    assert found == [-1, 2, 2, 5, 7, 20]
    assert phase_timeline[phase_timeline.index_at(7)].module == "b"  # the later of two at one position


def test_phase_timeline_ends_of_marker_phase_and_step() -> None:
    phase_timeline = PhaseTimeline(STEPS)
    assert [phase_timeline.end_of(number) for number in range(len(phase_timeline))] == [2, 5, 7, 9, 9, 12, 20, None]
    assert phase_timeline.phase_ends == [2, 7, 7, 9, 9, 12, 20, None]
    assert phase_timeline.step_ends == [2, 20, 20, 20, 20, 20, 20, None]


def test_phase_timeline_next_backward_is_in_same_step() -> None:
    assert PhaseTimeline(STEPS).backward_starts == [None, 7, 7, None, None, 12, None, None]


def test_annotations_add_backward_passes_from_stacks() -> None:
    annotations = Annotations(
        markers=[marker(0, 1, Phase.FORWARD), marker(10, 1, Phase.OPTIMIZER), marker(20, 2, Phase.BACKWARD)]
    )
    in_backward = {3, 4, 5, 12, 21}
    found = annotations.with_backward_passes(
        (position, position in in_backward) for position in (0, 2, 3, 4, 5, 6, 12, 21, 22)
    )
    assert [(one.position, one.step, one.phase) for one in found.markers] == [
        (0, 1, Phase.FORWARD),
        (3, 1, Phase.BACKWARD),
        (6, 1, Phase.FORWARD),
        (10, 1, Phase.OPTIMIZER),
        (12, 1, Phase.BACKWARD),
        (20, 2, Phase.BACKWARD),
    ]
    assert len(annotations.markers) == 3
