"""What the parts of a training loop besides its steps do to the peak, one sentence each."""

from __future__ import annotations

from collections.abc import Sequence

from memprof.records import Phase, PhaseReading, Reading, RunRecord
from memprof.report.length_notes import length_notes
from memprof.report.step_peaks import peak_allocated, peak_requested, peak_reserved
from memprof.units import format_bytes


def loop_notes(records: Sequence[RunRecord]) -> list[str]:
    """Return a sentence for each part that the runs had; of several records, it names those with an effect."""
    return [*_resume_notes(records), *length_notes(records), *_last_batch_notes(records), *_evaluation_notes(records)]


def _last_batch_notes(records: Sequence[RunRecord]) -> list[str]:
    """Say for each row what its smaller last batch needs: of several rows, only those whose peak it raises."""
    notes = {name_of(record): note for record in records if (note := _last_batch_note(record)) is not None}
    if len(records) == 1:
        return [f"The last batch of an epoch has {note}." for note, _ in notes.values()]
    raised = [f"{name} ({note})" for name, (note, raises) in notes.items() if raises]
    if raised:
        return [f"The smaller last batch of an epoch raises the peak: {', '.join(raised)}."]
    return ["The smaller last batch of an epoch does not raise the peak."] if notes else []


def _last_batch_note(record: RunRecord) -> tuple[str, bool] | None:
    steps = record.reading.steps if record.reading else ()
    last = next((step for step in steps if step.samples is not None), None)
    full = [step for step in steps if step.samples is None]
    if last is None or not full:
        return None
    peak, usual = peak_allocated([last]), peak_allocated(full)
    held, before = peak_reserved([last]), peak_reserved(full)
    more = [
        text
        for text, raised in (
            (f"{format_bytes(peak - usual)} more allocated", peak > usual),
            (f"{format_bytes(held - before)} more reserved", held > before),
        )
        if raised
    ]
    samples = f"{last.samples:,} of {record.batch_size:,} samples"
    found = ", ".join(more) or "not above the full batches"
    return f"{samples} and peaks at {format_bytes(peak)}, {found}", bool(more)


def _resume_notes(records: Sequence[RunRecord]) -> list[str]:
    """Say for each optimizer or variant what loading the checkpoint needs, and what the first step then needs.

    Loading does not depend on the batch size, so the largest batch stands for the others.
    """
    largest = {(r.variant, r.optimizer): r for r in sorted(records, key=lambda r: r.batch_size) if _resumed(r)}
    return [_resume_note(record, several=len(records) > 1) for record in largest.values()]


def _resumed(record: RunRecord) -> bool:
    return record.reading is not None and record.reading.resume is not None and bool(record.reading.steps)


def _resume_note(record: RunRecord, *, several: bool) -> str:
    reading = record.reading
    if reading is None or reading.resume is None:
        return ""
    loading = reading.resume.peak_allocated_bytes
    steps = peak_allocated(reading.steps)
    relation = "above" if loading > steps else "below"
    name = f" ({name_of(record)})" if several else ""
    peaks = f"peaks at {format_bytes(loading)}, {relation} the {format_bytes(steps)} of the steps"
    return f"Loading the checkpoint{name} {peaks}. {_first_step(reading)}"


def _first_step(reading: Reading) -> str:
    alike = [step for step in reading.steps if step.samples is None and step.sizes is None]
    if len(alike) < 2:
        return "No second step ran."
    first, last = alike[:1], alike[-1:]
    if peak_allocated(first) == peak_allocated(last):
        return "The first step has the peak of the last: optimizer state exists from the start."
    if peak_requested(first) == peak_requested(last):
        return "The first step requests as much as the last: optimizer state exists from the start."
    return (
        f"The first step peaks {format_bytes(peak_allocated(first) - peak_allocated(last), signed=True)} from the last."
    )


def _evaluation_notes(records: Sequence[RunRecord]) -> list[str]:
    """Say whether the evaluation raises the peak of the training steps, allocated or reserved."""
    raised = {name_of(record): found for record in records if (found := raised_by_evaluation(record)) is not None}
    if not raised:
        return []
    effects = {name: (allocated, reserved) for name, (allocated, reserved) in raised.items() if allocated or reserved}
    if not effects:
        return ["The evaluation does not raise the peak."]
    if len(records) > 1:
        return [f"The evaluation raises the peak in {len(effects)} of {len(raised)} rows: {', '.join(effects)}."]
    ((allocated, reserved),) = effects.values()
    return [
        f"The evaluation raises the peak by {format_bytes(allocated)} allocated and {format_bytes(reserved)} reserved."
    ]


def raised_by_evaluation(record: RunRecord) -> tuple[int, int] | None:
    """Return by how many bytes the evaluation goes beyond the steps before it: allocated and reserved.

    ``None`` if the run did not evaluate.
    """
    reading = record.reading
    if reading is None or reading.phase_peak_bytes(Phase.EVALUATION) is None:
        return None
    evaluated = next(phase for phase in _phases(reading) if phase.phase is Phase.EVALUATION)
    before = _phases(reading)[: _phases(reading).index(evaluated)]
    allocated = evaluated.peak_allocated_bytes - max(phase.peak_allocated_bytes for phase in before)
    reserved = evaluated.peak_reserved_bytes - max(phase.peak_reserved_bytes for phase in before)
    return max(allocated, 0), max(reserved, 0)


def name_of(record: RunRecord) -> str:
    """Return the name of a row: its variant, or its optimizer and its batch size."""
    return record.variant or f"{record.optimizer or record.mode} {record.batch_size:,}"


def _phases(reading: Reading) -> list[PhaseReading]:
    return [phase for step in reading.steps for phase in step.phases]
