"""Records turned into the columns of a table, each under the word for where its figures come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from memprof.records import RunRecord, Status
from memprof.report.terminal.layout import Column
from memprof.results import row
from memprof.units import UNKNOWN, format_bytes, format_percent

# Only colours that can be read on a light and on a dark background.
STATUS_STYLES: Mapping[str, str] = {
    "ok": "dim",
    "oom": "bold magenta",
    **dict.fromkeys(("timeout", "killed", "error"), "bold red"),
}


def categories(records: Sequence[RunRecord]) -> list[Column]:
    """Return the analytic columns, the total last; buffers only where there are any."""
    names = {
        "parameters": "parameters_bytes",
        "buffers": "buffers_bytes",
        "gradients": "gradients_bytes",
        "opt. state": "optimizer_state_bytes",
        "input": "input_bytes",
        "activations": "activations_bytes",
        "total": "analytic_total_bytes",
    }
    if not any(record.breakdown and record.breakdown.buffers_bytes for record in records):
        del names["buffers"]
    return _bytes_columns(records, "analytic", names)


def readings(records: Sequence[RunRecord], *, phases: bool) -> list[Column]:
    """Return the columns that a device's counters filled; with `phases`, each one's peak too."""
    source = records[0].source.value
    reserved = {"reserved": "peak_reserved_bytes", "NVML": "nvml_used_bytes"}
    if not phases:
        return _bytes_columns(records, source, {"peak": "peak_allocated_bytes", **reserved})
    by_phase = {name: f"{name}_peak_bytes" for name in ("forward", "backward", "optimizer")}
    ran = {name: key for name, key in by_phase.items() if any(row(record)[key] for record in records)}
    peaks = _bytes_columns(records, f"{source} peak", {**ran, "highest": "peak_allocated_bytes"})
    return [*peaks, *_bytes_columns(records, source, reserved)]


def _bytes_columns(records: Sequence[RunRecord], group: str, names: Mapping[str, str]) -> list[Column]:
    rows = [row(record) for record in records]
    return [
        Column(
            heading=heading,
            group=group,
            cells=tuple(_format_cell(cells[key]) for cells in rows),
            style="bold" if key == "peak_allocated_bytes" else "",
        )
        for heading, key in names.items()
    ]


def _format_cell(value: object) -> str:
    return format_bytes(value) if isinstance(value, int) else UNKNOWN


def differences(records: Sequence[RunRecord]) -> list[Column]:
    """Return the peak less the analytic total, in bytes and in per cent of that total, both signed."""
    sizes = tuple(format_bytes(record.difference_bytes, signed=True) for record in records)
    percents = tuple(format_percent(record.difference_percent).removesuffix(" %") for record in records)
    group = "peak less total"
    return [
        Column(heading="bytes", group=group, cells=sizes),
        Column(heading="percent", group=group, cells=percents),
    ]


def status(records: Sequence[RunRecord]) -> Column:
    """Return how each record ended."""
    cells = tuple(record.status.value for record in records)
    return Column(heading="status", cells=cells, cell_styles=STATUS_STYLES)


def notes(records: Sequence[RunRecord]) -> dict[int, str]:
    """Return why each row failed, by its place. Of rows in a run with one reason, the last one says so."""
    reasons = [reason_of(record) for record in records]
    keys = [*((record.optimizer, reason) for record, reason in zip(records, reasons, strict=True)), None]
    return {place: reason for place, reason in enumerate(reasons) if reason and keys[place] != keys[place + 1]}


def reason_of(record: RunRecord) -> str:
    """Return why the record failed, on one line; empty where it did not."""
    return "" if record.status is Status.OK or not record.error else " ".join(record.error.split())
