"""Sentences about the parts of a loop besides its steps."""

from __future__ import annotations

from memprof.records import Phase, PhaseReading, RunRecord, StepReading
from memprof.report.loop_notes import loop_notes
from memprof.units import MIB
from tests.samples import sample_reading, sample_record


def reading(phase: Phase, allocated: int, reserved: int) -> PhaseReading:
    return PhaseReading(
        phase=phase,
        allocated_before_bytes=0,
        peak_allocated_bytes=allocated * MIB,
        allocated_after_bytes=0,
        peak_requested_bytes=allocated * MIB,
        peak_reserved_bytes=reserved * MIB,
    )


def record(evaluation: tuple[int, int] | None, batch_size: int = 64) -> RunRecord:
    training = reading(Phase.BACKWARD, 100, 120)
    last = (training,) if evaluation is None else (training, reading(Phase.EVALUATION, *evaluation))
    steps = tuple(StepReading(phases=phases, seconds=None) for phases in ((training,), last, (training,)))
    return sample_record(batch_size=batch_size, reading=sample_reading(steps=steps))


def resumed(loading: int, first: int = 100, **changes: object) -> RunRecord:
    steps = tuple(StepReading(phases=(reading(Phase.BACKWARD, peak, 120),), seconds=None) for peak in (first, 100, 100))
    of_run = sample_reading(steps=steps, resume=reading(Phase.RESUME, loading, 120))
    return sample_record(batch_size=64, reading=of_run, **changes)


def test_loop_notes_of_resumed_run_have_the_loading_peak() -> None:
    assert loop_notes([resumed(30)]) == [
        "Loading the checkpoint peaks at 30.00 MiB, below the 100.00 MiB of the steps. The first step has the peak of "
        "the last: optimizer state exists from the start."
    ]


def test_loop_notes_of_resumed_variants_name_each() -> None:
    notes = loop_notes([resumed(30, variant="base"), resumed(130, 90, variant="resume.map_location=cuda")])
    assert notes[0].startswith("Loading the checkpoint (base) peaks at 30.00 MiB, below")
    assert notes[1] == (
        "Loading the checkpoint (resume.map_location=cuda) peaks at 130.00 MiB, above the 100.00 MiB of the steps. "
        "The first step peaks -10.00 MiB from the last."
    )


def with_last_batch(allocated: int, reserved: int, batch_size: int = 64) -> RunRecord:
    full = StepReading(phases=(reading(Phase.BACKWARD, 100, 120),), seconds=None)
    last = StepReading(phases=(reading(Phase.BACKWARD, allocated, reserved),), seconds=None, samples=28)
    return sample_record(batch_size=batch_size, reading=sample_reading(steps=(full, full, last, full)))


def test_loop_notes_of_smaller_last_batch_say_what_it_needs() -> None:
    assert loop_notes([with_last_batch(60, 120)]) == [
        "The last batch of an epoch has 28 of 64 samples and peaks at 60.00 MiB, not above the full batches."
    ]


def test_loop_notes_keep_the_evaluation_apart_from_the_last_batch() -> None:
    record = with_last_batch(60, 120)
    assert record.reading is not None
    full, again, last, after = record.reading.steps
    last = StepReading(phases=(*last.phases, reading(Phase.EVALUATION, 130, 140)), seconds=None, samples=28)
    notes = loop_notes([sample_record(reading=sample_reading(steps=(full, again, last, after)))])
    assert notes == [
        "The last batch of an epoch has 28 of 64 samples and peaks at 60.00 MiB, not above the full batches.",
        "The evaluation raises the peak by 30.00 MiB allocated and 20.00 MiB reserved.",
    ]


def test_loop_notes_name_the_rows_that_a_last_batch_raises() -> None:
    records = [with_last_batch(60, 120, 32), with_last_batch(110, 130, 64)]
    assert loop_notes(records) == [
        "The smaller last batch of an epoch raises the peak: adam 64 (28 of 64 samples and peaks at 110.00 MiB, "
        "10.00 MiB more allocated, 10.00 MiB more reserved)."
    ]
    assert loop_notes(records[:1] * 2) == ["The smaller last batch of an epoch does not raise the peak."]


def test_loop_notes_without_evaluation_are_empty() -> None:
    assert loop_notes([record(None)]) == []


def test_loop_notes_say_that_the_evaluation_fits_below() -> None:
    assert loop_notes([record((90, 120)), record((100, 110))]) == ["The evaluation does not raise the peak."]


def test_loop_notes_of_one_run_say_by_how_much() -> None:
    expected = "The evaluation raises the peak by 30.00 MiB allocated and 0 B reserved."
    assert loop_notes([record((130, 110))]) == [expected]


def test_loop_notes_of_several_runs_name_those_affected() -> None:
    records = [record((130, 130), 16), record((90, 121), 32), record((90, 120), 64), record(None, 128)]
    assert loop_notes(records) == ["The evaluation raises the peak in 2 of 3 rows: adam 16, adam 32."]
