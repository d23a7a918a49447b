"""Peak memory against batch size: a curve for each optimizer and precision of a sweep."""

from __future__ import annotations

from collections.abc import Sequence

from memprof.records import RunRecord
from memprof.report.plots import readings
from memprof.report.plots.axes import batch_axis, byte_axis
from memprof.report.plots.elements import BatchPlot, Curve, Layer
from memprof.report.plots.readings import ANALYTIC_PARTS, LIMIT_NEAR


def batch_plot(records: Sequence[RunRecord]) -> BatchPlot:
    """Return the peaks of a sweep against batch size, above the stack of the analytic estimate."""
    curves = tuple(_curve(name, rows) for name, rows in variants_of(records).items())
    highest_bytes = readings.highest_bytes(records)
    limit = readings.limit_of(records)
    apart = limit is not None and limit.total_bytes > LIMIT_NEAR * highest_bytes
    if limit is not None and not apart:
        highest_bytes = max(highest_bytes, limit.total_bytes)
    return BatchPlot(
        heading=readings.heading("peak memory against batch size", records),
        curves=curves,
        axis=byte_axis(highest_bytes),
        batches=batch_axis(sorted({record.batch_size for record in records})),
        limit=limit,
        limit_apart=apart,
    )


def variants_of(records: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """Return the records of each variant by batch size; of several with the same name and size the last one counts."""
    several = len({record.precision for record in records}) > 1
    variants: dict[str, dict[int, RunRecord]] = {}
    for record in records:
        name = record.optimizer or record.mode
        name = f"{name}, {record.precision}" if several else name
        variants.setdefault(name, {})[record.batch_size] = record
    return {name: [rows[size] for size in sorted(rows)] for name, rows in variants.items()}


def _curve(name: str, records: Sequence[RunRecord]) -> Curve:
    stacks = [readings.analytic_parts(record.breakdown) for record in records]
    layers = [
        Layer(part=part, values_bytes=tuple(None if parts is None else parts[part] for parts in stacks))
        for part in ANALYTIC_PARTS
    ]
    return Curve(
        name=name,
        batch_sizes=tuple(record.batch_size for record in records),
        peaks_bytes=tuple(readings.peak(record) for record in records),
        reserved_bytes=tuple(readings.reserved(record) for record in records),
        estimates_bytes=tuple(readings.estimate(record) for record in records),
        layers=tuple(layer for layer in layers if any(layer.values_bytes)),
        ends=tuple(record.status for record in records),
    )
