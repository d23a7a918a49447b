"""A note on runs whose peak may depend on values that a phantom does not know."""

from __future__ import annotations

from collections.abc import Sequence

from memprof.records import RunRecord


def value_note(records: Sequence[RunRecord]) -> str | None:
    """Return one line that says how many unknown values the models read; ``None`` if they read none."""
    counts = [
        record.reading.zeros_read for record in records if record.reading is not None and record.reading.zeros_read
    ]
    if not counts:
        return None
    reads, rows = sum(counts), f"{len(counts):,} of {len(records):,} rows"
    return f"depends on values in {rows}: {reads:,} reads of unknown values, each as zeros; the true peak may differ."
