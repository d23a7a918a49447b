"""A record as a flat row: CSV and ``--json`` share its names and their order."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from memprof.records import SCHEMA_VERSION, Environment, Phase, RunRecord

COLUMNS = (
    *("model", "optimizer", "precision", "mode", "batch_size", "gpu", "source", "status"),
    *("parameters_bytes", "buffers_bytes", "gradients_bytes", "optimizer_state_bytes", "input_bytes"),
    *("activations_bytes", "workspace_bytes", "analytic_total_bytes", "textbook_total_bytes", "analytic_peak_bytes"),
    *("peak_requested_bytes", "peak_allocated_bytes"),
    *("first_step_peak_allocated_bytes", "peak_reserved_bytes", "nvml_used_bytes", "context_bytes"),
    *("difference_bytes", "difference_percent", "resume_peak_bytes", "load_peak_bytes"),
    *("forward_peak_bytes", "backward_peak_bytes", "optimizer_peak_bytes", "evaluation_peak_bytes"),
    *("workspace_known", "value_dependent", "seconds_per_step"),
    *("torch_version", "cuda_version", "cudnn_version", "error"),
)

VARIANT_COLUMNS = ("variant", "largest_batch_size")  # after the others, and only in a comparison
# After those, and only if a row is that of one rank of several.
PARALLEL_COLUMNS = ("rank", "world_size", "mesh", "communicators", "nccl_bytes", "host_bytes")

# A spreadsheet takes text that begins with one of these for a formula:
# https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")

Cell = int | float | str | bool | None


class RowName(NamedTuple):
    """What distinguishes a row from the others of its sweep or comparison."""

    optimizer: str | None  # None in inference
    batch_size: int
    variant: str | None = None  # None in a sweep
    rank: int | None = None  # None if one GPU trains the model


def name_of(record: RunRecord) -> RowName:
    """Return what distinguishes the record from the others of its sweep or comparison."""
    return RowName(record.optimizer, record.batch_size, record.variant, record.rank)


def row(record: RunRecord) -> dict[str, Cell]:
    """Return the record under the names of `columns_of`, in their order: bytes as int, unknown as ``None``."""
    cells = {**_point(record), **_analytic(record), **_counters(record), **_versions(record.environment)}
    percent = record.difference_percent
    cells["difference_bytes"] = record.difference_bytes
    cells["difference_percent"] = None if percent is None else round(percent, 2) + 0.0  # no -0.0
    cells["error"] = None if record.error is None else " ".join(record.error.split())
    cells |= {name: getattr(record, name) for name in (*VARIANT_COLUMNS, "rank", "world_size", "mesh")}
    cells |= {name: getattr(record.reading, name, None) for name in ("communicators", "nccl_bytes", "host_bytes")}
    return {column: cells[column] for column in columns_of([record])}


def columns_of(records: Sequence[RunRecord]) -> tuple[str, ...]:
    """Return `COLUMNS`, `VARIANT_COLUMNS` for records of a comparison, and `PARALLEL_COLUMNS` for one rank of many."""
    compared = any(record.variant is not None for record in records)
    parallel = any(record.mesh is not None for record in records)
    return columns_with(compared=compared, parallel=parallel)


def columns_with(*, compared: bool, parallel: bool) -> tuple[str, ...]:
    """Return the columns of a comparison or of a sweep, with those of several ranks or without them."""
    return (*COLUMNS, *(VARIANT_COLUMNS if compared else ()), *(PARALLEL_COLUMNS if parallel else ()))


def _point(record: RunRecord) -> dict[str, Cell]:
    names = ("model", "optimizer", "precision", "mode", "batch_size")
    settings: dict[str, Cell] = {name: getattr(record, name) for name in names}
    return {
        **settings,
        "gpu": record.environment.gpu,
        "source": record.source.value,
        "status": record.status.value,
    }


def _analytic(record: RunRecord) -> dict[str, Cell]:
    names = (
        *("parameters", "buffers", "gradients", "optimizer_state", "input", "activations", "workspace"),
        "textbook_total",
    )
    breakdown = record.breakdown
    cells: dict[str, Cell] = {f"{name}_bytes": getattr(breakdown, f"{name}_bytes", None) for name in names}
    sums = {"analytic_total_bytes": "total_bytes", "analytic_peak_bytes": "estimate_bytes"}
    return {**cells, **{name: getattr(breakdown, attribute, None) for name, attribute in sums.items()}}


def _counters(record: RunRecord) -> dict[str, Cell]:
    names = (
        *("peak_requested_bytes", "peak_allocated_bytes", "first_step_peak_allocated_bytes"),
        *("peak_reserved_bytes", "nvml_used_bytes", "context_bytes", "workspace_known", "value_dependent"),
        "seconds_per_step",
    )
    reading = record.reading
    cells: dict[str, Cell] = {name: getattr(reading, name, None) for name in names}
    phases = {
        "load_peak_bytes": (Phase.LOAD,),
        "forward_peak_bytes": (Phase.FORWARD, Phase.LOSS),
        "backward_peak_bytes": (Phase.BACKWARD,),
        "optimizer_peak_bytes": (Phase.OPTIMIZER,),
        "evaluation_peak_bytes": (Phase.EVALUATION,),
    }
    peaks = {name: reading.phase_peak_bytes(*of) if reading else None for name, of in phases.items()}
    resumed = reading.resume.peak_allocated_bytes if reading and reading.resume else None
    return {**cells, "resume_peak_bytes": resumed, **peaks}


def _versions(environment: Environment) -> dict[str, Cell]:
    return {name: getattr(environment, name) for name in ("torch_version", "cuda_version", "cudnn_version")}


def to_json(records: Sequence[RunRecord], environment: Environment) -> dict[str, Any]:
    """Return what ``--json`` prints: the schema version, the environment, and a row for each record."""
    rows = [row(record) for record in records]
    return {"schema_version": SCHEMA_VERSION, "environment": asdict(environment), "rows": rows}


def to_csv(records: Sequence[RunRecord], columns: Sequence[str] | None = None) -> str:
    """Return the records as CSV with a header; by default the columns are those of `columns_of`."""
    names = columns_of(records) if columns is None else columns
    return _csv([names]) + to_csv_lines(records, names)


def to_csv_lines(records: Sequence[RunRecord], columns: Sequence[str]) -> str:
    """Return a CSV line for each record: unknown is empty, booleans are ``true`` and ``false``.

    Text that a spreadsheet would run as a formula begins with an apostrophe.
    """
    rows = map(row, records)
    return _csv([[_csv_cell(cells.get(name)) for name in columns] for cells in rows])


def _csv(lines: Sequence[Sequence[Cell]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def _csv_cell(cell: Cell) -> Cell:
    if isinstance(cell, bool):
        return str(cell).lower()
    if not isinstance(cell, str):
        return cell
    text = cell.replace("\r", " ")  # csv does not quote it, and readers take it for the end of a row
    return f"'{text}" if cell.startswith(_FORMULA_STARTS) else text
