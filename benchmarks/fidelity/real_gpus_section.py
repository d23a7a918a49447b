"""What docs/fidelity.md says of real GPUs and their phantoms in the same programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.fidelity.real_gpus import ModelPeaks, detection, families, read_largest, read_models
from benchmarks.fidelity.tables import table
from memprof.experiments.verify import FIGURES, Row, Verification
from memprof.units import UNKNOWN, format_percent

# What the H200 and its phantom differed by before the phantom answered cuDNN's look-ups of cuBLASLt.
_BEFORE = {
    "verify: points equal to the byte": "25 of 40",
    "verify: worst difference of allocated bytes": "-0.9 %",
    "verify: worst difference of reserved bytes": "-11.1 %",
    "CNNs: requested bytes equal": "29 of 86",
    "CNNs: allocated bytes equal": "17 of 86",
    "CNNs: worst difference of allocated bytes": "-2.9 %",
    "timm's EfficientNet-B0: worst difference of allocated bytes": "-2.6 %",
}


def real_gpus(records: Sequence[Verification]) -> Mapping[str, Any]:
    """Return what the page says of the records: of each, of their families of models, and of the largest batches."""
    headings = ("models", "points", "requested equal", "allocated equal", "median error of allocated", "worst")
    models = read_models()
    found = families(models)
    rows = [
        (
            one.name,
            f"{one.points}",
            f"{one.equal_requested}",
            f"{one.equal_allocated}",
            f"{100 * one.median_error:.2f} %",
            f"{format_percent(100 * one.worst.allocated_error)} ({one.worst.model}, batch {one.worst.batch_size})",
        )
        for one in found
    ]
    largest = [(one.config, f"{one.measured:,}", f"{one.emulated:,}") for one in read_largest()]
    least_exact = detection(found)
    return {
        "records": _records(records),
        "points": _points(records),
        **_of_cnns(models, records),
        "families": table(headings, rows),
        "largest": table(("config", "real H200: largest batch", "phantom"), largest),
        "detection_median": f"{100 * least_exact.median_error:.0f} %",
        "detection_worst": f"{100 * least_exact.worst.allocated_error:.0f} %".replace("-", "−"),
    }


def _records(records: Sequence[Verification]) -> str | None:
    rows = [
        (
            f"{record.gpu.gpu}",
            f"{record.gpu.torch_version}",
            f"{record.gpu.cudnn_version}",
            f"{record.gpu.driver_version or UNKNOWN}",
            f"{record.equal} of {len(record.rows)}",
            _worst(record, "allocated"),
            _worst(record, "reserved"),
        )
        for record in records
    ]
    headings = ("GPU", "torch", "cuDNN", "driver", "equal to the byte", "worst allocated", "worst reserved")
    return table(headings, rows) if rows else None


def _points(records: Sequence[Verification]) -> Mapping[str, str]:
    """Return a table for each record, by GPU and version: the points that are not equal to the byte."""
    headings = ("model", "point", *(f"{figure}, B" for figure in FIGURES), "allocated")
    return {
        f"{record.gpu.gpu}, torch {record.gpu.torch_version}": table(
            headings, [_point(row) for row in record.rows if not row.is_equal]
        )
        for record in records
    }


def _point(row: Row) -> tuple[str, ...]:
    card, phantom = row.gpu.allocated_bytes, row.phantom.allocated_bytes
    share = UNKNOWN if not card or phantom is None else format_percent(100 * (phantom / card - 1))
    cells = (_signed(row.difference_bytes(figure)) for figure in FIGURES)
    return row.model, row.point, *cells, share


def _signed(difference_bytes: int | None) -> str:
    return UNKNOWN if difference_bytes is None else f"{difference_bytes:+,}" if difference_bytes else "none"


def _of_cnns(models: Sequence[ModelPeaks], records: Sequence[Verification]) -> Mapping[str, str]:
    """Return what the page says of convolutions, and the table of the figures before and now."""
    cnns = [one for one in models if one.family.endswith(("classification", "segmentation"))]
    equal, same = (
        sum(getattr(one.measured, name) == getattr(one.emulated, name) for one in cnns)
        for name in ("requested_bytes", "allocated_bytes")
    )
    timm = max((one for one in models if one.family == "timm"), key=lambda one: abs(one.allocated_error))
    rows = [row for record in records for row in record.rows]
    allocated, reserved = (_worst_share(rows, name) for name in ("allocated", "reserved"))
    worst = max((one.allocated_error for one in cnns), key=abs)
    now = (
        f"{sum(row.is_equal for row in rows)} of {len(rows)}",
        allocated,
        reserved,
        f"{equal} of {len(cnns)}",
        f"{same} of {len(cnns)}",
        format_percent(100 * worst),
        format_percent(100 * timm.allocated_error),
    )
    compared = [(name, before, after) for (name, before), after in zip(_BEFORE.items(), now, strict=True)]
    return {
        "cnn_equal": f"{equal}",
        "cnn_points": f"{len(cnns)}",
        "cnn_median": f"{100 * median(abs(one.allocated_error) for one in cnns):.2f} %",
        "cnn_worst": format_percent(100 * abs(worst), signed=False),
        "reserved_low": reserved.lstrip("-"),
        "before_and_after": table(("on the H200 and its phantom", "before", "now"), compared),
    }


def _worst_share(rows: Sequence[Row], name: str) -> str:
    """Return the largest difference of a figure, relative to the real GPU's."""
    shares = [
        difference / getattr(row.gpu, f"{name}_bytes")
        for row in rows
        if (difference := row.difference_bytes(name)) is not None
    ]
    return format_percent(100 * max(shares, key=abs)) if shares else UNKNOWN


def _worst(record: Verification, figure: str) -> str:
    found = [row.difference_bytes(figure) for row in record.rows]
    return f"{max((size for size in found if size is not None), key=abs, default=0):+,} B"
