"""A record as a flat row: the names and their order that CSV and ``--json`` share."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from memprof.records import SCHEMA_VERSION, Environment, Phase, RunRecord

COLUMNS = (
    *("model", "optimizer", "precision", "mode", "batch_size", "gpu", "source", "status"),
    *("parameters_bytes", "buffers_bytes", "gradients_bytes", "optimizer_state_bytes", "input_bytes"),
    *("activations_bytes", "analytic_total_bytes", "peak_requested_bytes", "peak_allocated_bytes"),
    *("first_step_peak_allocated_bytes", "peak_reserved_bytes", "nvml_used_bytes", "context_bytes"),
    *("difference_bytes", "difference_percent", "forward_peak_bytes", "backward_peak_bytes"),
    *("optimizer_peak_bytes", "workspace_known", "seconds_per_step"),
    *("torch_version", "cuda_version", "cudnn_version", "error"),
)

VARIANT_COLUMNS = ("variant", "largest_batch_size")  # behind the others, in a comparison alone

Cell = int | float | str | bool | None


def row(record: RunRecord) -> dict[str, Cell]:
    """Return the record under the names of `columns_of`, in their order: bytes as int, unknown as ``None``."""
    cells = {**_asked(record), **_analytic(record), **_read(record), **_versions(record.environment)}
    percent = record.difference_percent
    cells["difference_bytes"] = record.difference_bytes
    cells["difference_percent"] = None if percent is None else round(percent, 2) + 0.0  # no -0.0
    cells["error"] = None if record.error is None else " ".join(record.error.split())
    cells |= {name: getattr(record, name) for name in VARIANT_COLUMNS}
    return {column: cells[column] for column in columns_of([record])}


def columns_of(records: Sequence[RunRecord]) -> tuple[str, ...]:
    """Return `COLUMNS`, for records of a comparison with `VARIANT_COLUMNS`."""
    compared = any(record.variant is not None for record in records)
    return (*COLUMNS, *VARIANT_COLUMNS) if compared else COLUMNS


def _asked(record: RunRecord) -> dict[str, Cell]:
    names = ("model", "optimizer", "precision", "mode", "batch_size")
    asked: dict[str, Cell] = {name: getattr(record, name) for name in names}
    return {
        **asked,
        "gpu": record.environment.gpu,
        "source": record.source.value,
        "status": record.status.value,
    }


def _analytic(record: RunRecord) -> dict[str, Cell]:
    names = ("parameters", "buffers", "gradients", "optimizer_state", "input", "activations")
    breakdown = record.breakdown
    cells: dict[str, Cell] = {f"{name}_bytes": getattr(breakdown, f"{name}_bytes", None) for name in names}
    return {**cells, "analytic_total_bytes": breakdown.total_bytes if breakdown else None}


def _read(record: RunRecord) -> dict[str, Cell]:
    names = (
        *("peak_requested_bytes", "peak_allocated_bytes", "first_step_peak_allocated_bytes"),
        *("peak_reserved_bytes", "nvml_used_bytes", "context_bytes", "workspace_known", "seconds_per_step"),
    )
    reading = record.reading
    cells: dict[str, Cell] = {name: getattr(reading, name, None) for name in names}
    phases = {
        "forward_peak_bytes": (Phase.FORWARD, Phase.LOSS),
        "backward_peak_bytes": (Phase.BACKWARD,),
        "optimizer_peak_bytes": (Phase.OPTIMIZER,),
    }
    peaks = {name: reading.phase_peak_bytes(*of) if reading else None for name, of in phases.items()}
    return {**cells, **peaks}


def _versions(environment: Environment) -> dict[str, Cell]:
    return {name: getattr(environment, name) for name in ("torch_version", "cuda_version", "cudnn_version")}


def to_json(records: Sequence[RunRecord], environment: Environment) -> dict[str, Any]:
    """Return what ``--json`` prints: the schema's version, the circumstances, and a row for each record."""
    rows = [row(record) for record in records]
    return {"schema_version": SCHEMA_VERSION, "environment": asdict(environment), "rows": rows}


def to_csv(records: Sequence[RunRecord]) -> str:
    """Return the records as CSV with a header; unknown is empty, truth is ``true`` or ``false``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = columns_of(records)
    writer.writerow(names)
    for record in records:
        cells = row(record)
        writer.writerow([_csv_cell(cells.get(name)) for name in names])
    return text.getvalue()


def _csv_cell(cell: Cell) -> Cell:
    return str(cell).lower() if isinstance(cell, bool) else cell
