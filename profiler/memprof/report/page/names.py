"""Names in words that several sections of the page share."""

from __future__ import annotations

from collections.abc import Sequence

from memprof.records import RunRecord, Status
from memprof.report.labels import gpu_label
from memprof.report.page.collect import ReportInputs
from memprof.report.terminal.columns import reason_of
from memprof.units import format_bytes


def run_name(record: RunRecord) -> str:
    """Return a run in words: ``adam, batch 64``."""
    return f"{record.optimizer or record.mode}, batch {record.batch_size:,}"


def status_text(status: Status) -> str:
    """Return how a run ended, in words."""
    return "out of memory" if status is Status.OOM else status.value


def gpu_text(inputs: ReportInputs) -> str:
    """Return the page's GPU and its memory, or the names of several GPUs; phantoms are marked."""
    if len(inputs.gpus) > 1:
        return ", ".join(gpu_label(str(gpu), inputs.source) for gpu in inputs.gpus)
    memory = inputs.environment.gpu_total_bytes
    name = gpu_label(inputs.environment.gpu, inputs.source) if inputs.environment.gpu else "no GPU"
    return f"{name}, {format_bytes(memory)}" if memory else name


def failures(records: Sequence[RunRecord], names: Sequence[str]) -> tuple[str, ...]:
    """Return why runs failed: each reason once, after the names of its runs."""
    failed: dict[str, list[str]] = {}
    for record, name in zip(records, names, strict=True):
        if reason := reason_of(record):
            failed.setdefault(reason, []).append(name)
    return tuple(f"{'; '.join(runs)} failed: {reason}" for reason, runs in failed.items())
