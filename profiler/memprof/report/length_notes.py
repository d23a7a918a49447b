"""What batches of random lengths need more than batches of the largest length alone."""

from __future__ import annotations

from collections.abc import Sequence

from memprof.records import Reading, RunRecord
from memprof.report.step_peaks import peak_allocated, peak_reserved
from memprof.units import format_bytes


def length_notes(records: Sequence[RunRecord]) -> list[str]:
    """Return a sentence for each run with random lengths: what they add, and how much memory is fragmented."""
    notes = []
    for record in records:
        if record.reading is not None and any(step.sizes is not None for step in record.reading.steps):
            row = f" ({record.variant or record.optimizer or record.mode}, batch {record.batch_size:,})"
            notes.append(_note(record.reading, row if len(records) > 1 else ""))
    return notes


def too_low_bytes(reading: Reading) -> tuple[int, int]:
    """Return by how many bytes a run with the largest length alone is too low: allocated and reserved."""
    fixed, every = [step for step in reading.steps if step.sizes is None], reading.steps
    return peak_allocated(every) - peak_allocated(fixed), peak_reserved(every) - peak_reserved(fixed)


def _note(reading: Reading, row: str) -> str:
    steps = [step for step in reading.steps if step.sizes is not None]
    lengths = [length for step in steps for length in (step.sizes or {}).values()]
    allocated, reserved = too_low_bytes(reading)
    batches = "1 batch of a random length" if len(steps) == 1 else f"{len(steps):,} batches of random lengths"
    drawn = f"{batches} ({min(lengths):,} to {max(lengths):,}){row}"
    if not allocated and not reserved:
        found = "a run with the largest length alone has the same peak"
    else:
        parts = {"allocated": allocated, "reserved": reserved}
        more = " and ".join(f"{format_bytes(size)} too low in {name} memory" for name, size in parts.items() if size)
        found = f"a run with the largest length alone is {more}"
    unused = format_bytes(reading.inactive_split_bytes)
    return f"After {drawn}, {found}. Fragmented at the end: {unused} in free parts of blocks."
