"""Notes on values: what a phantom does not know, and what the CPU computed for it."""

from __future__ import annotations

from collections.abc import Sequence

from memprof.records import HostValues, MaxBatch, Reading, RunRecord
from memprof.units import format_bytes


def value_notes(records: Sequence[RunRecord]) -> list[str]:
    """Return a line each on a routing, on unknown values that were read, and on values that the CPU computed."""
    return [note for note in (_routing_note(records), _unknown_note(records), _host_values_note(records)) if note]


def _unknown_note(records: Sequence[RunRecord]) -> str | None:
    """Return one line that says how many unknown values the models read; ``None`` if they read none."""
    readings = [record.reading for record in records if record.reading is not None and record.reading.zeros_read]
    if not readings:
        return None
    rows = f" in {len(readings):,} of {len(records):,} rows" if len(records) > 1 else ""
    reads = _reads(sum(reading.zeros_read or 0 for reading in readings))
    return f"depends on values{rows}: {reads}; the true peak may differ{_remedy(readings)}."


def max_batch_value_note(answers: Sequence[MaxBatch]) -> str | None:
    """Return the same for searches of the largest batch; ``None`` if no trial read an unknown value."""
    reads = sum(answer.zeros_read or 0 for answer in answers)
    return f"{_reads(reads)}; the true limit may differ; use --values cpu" if reads else None


def _host_values_note(records: Sequence[RunRecord]) -> str | None:
    """Return one line on the values that the CPU computed; ``None`` if it computed none."""
    readings = [record.reading for record in records if record.reading and not record.reading.routing]
    found = [reading.host_values for reading in readings if reading.host_values]
    if not found:
        return None
    seconds, run = sum(values.seconds for values in found), sum(values.operators_run for values in found)
    memory = format_bytes(max(values.peak_bytes for values in found))
    return f"values: the CPU computed {run:,} operators in {seconds:,.1f} s, with up to {memory} of host memory."


def _reads(count: int) -> str:
    return "1 read of an unknown value, as zeros" if count == 1 else f"{count:,} reads of unknown values, each as zeros"


def _routing_note(records: Sequence[RunRecord]) -> str | None:
    """Return one line on the routing that replaced a router's choice; ``None`` if the models chose."""
    found = sorted({record.reading.routing for record in records if record.reading and record.reading.routing})
    return f"routing: {', '.join(found)}; the model's own routers did not choose the experts." if found else None


def _remedy(readings: Sequence[Reading]) -> str:
    """Say what to do: let the CPU compute values, or, where it did, which operators it lacks."""
    if any(reading.routing for reading in readings):
        return ""
    computed: list[HostValues] = [reading.host_values for reading in readings if reading.host_values is not None]
    if not computed:
        return "; use --values cpu"
    missing = sorted({name for values in computed for name in values.missing})
    return f"; the CPU cannot run {', '.join(missing)}" if missing else ""
