"""Sentences about batches of random lengths."""

from __future__ import annotations

from memprof.records import Phase, PhaseReading, Reading, StepReading
from memprof.report.length_notes import length_notes
from memprof.units import MIB
from tests.samples import sample_reading, sample_record


def step(allocated: int, reserved: int, length: int | None = None) -> StepReading:
    phase = PhaseReading(
        phase=Phase.BACKWARD,
        allocated_before_bytes=0,
        peak_allocated_bytes=allocated * MIB,
        allocated_after_bytes=0,
        peak_requested_bytes=allocated * MIB,
        peak_reserved_bytes=reserved * MIB,
    )
    return StepReading(phases=(phase,), seconds=None, sizes=None if length is None else {"seq_len": length})


def reading(*steps: StepReading) -> Reading:
    return sample_reading(steps=steps, inactive_split_bytes=7 * MIB)


def test_length_notes_without_lengths_are_empty() -> None:
    assert length_notes([sample_record(reading=reading(step(1, 1)))]) == []


def test_length_notes_say_how_much_a_fixed_length_is_too_low() -> None:
    record = sample_record(reading=reading(step(100, 120), step(90, 150, 64), step(103, 130, 2048)))
    assert length_notes([record]) == [
        "After 2 batches of random lengths (64 to 2,048), a run with the largest length alone is 3.00 MiB too low in "
        "allocated memory and 30.00 MiB too low in reserved memory. Fragmented at the end: 7.00 MiB in free parts of "
        "blocks."
    ]


def test_length_notes_of_rows_name_each_row() -> None:
    record = sample_record(reading=reading(step(100, 120), step(90, 120, 64)), batch_size=8)
    notes = length_notes([record, record])
    assert notes[0].startswith("After 1 batch of a random length (64 to 64) (adam, batch 8), a run with the largest")
    assert "has the same peak" in notes[0]
