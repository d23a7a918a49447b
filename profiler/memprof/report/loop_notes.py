"""What the parts of a training loop besides its steps do to the peak, one sentence each."""

from __future__ import annotations

from collections.abc import Sequence

from memprof.records import Phase, PhaseReading, Reading, RunRecord
from memprof.units import format_bytes


def loop_notes(records: Sequence[RunRecord]) -> list[str]:
    """Return a sentence for each part that the runs had; of several records, it names those with an effect."""
    return _evaluation_notes(records)


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
    """Return the name of a row: its optimizer and its batch size."""
    return f"{record.optimizer or record.mode} {record.batch_size:,}"


def _phases(reading: Reading) -> list[PhaseReading]:
    return [phase for step in reading.steps for phase in step.phases]
