"""Memory by category: a stacked bar for each variant of a sweep or a comparison, or each level of an explanation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from memprof.breakdown.explanation import Explained, Parts
from memprof.errors import ResultError
from memprof.records import RunRecord, Source, Status
from memprof.report.assumed import STAR, assumes_context, context_notes
from memprof.report.figures import SUM
from memprof.report.plots import readings
from memprof.report.plots.axes import byte_axis
from memprof.report.plots.batch import variants_of
from memprof.report.plots.elements import Bar, CategoriesPlot
from memprof.report.plots.readings import LIMIT_NEAR
from memprof.results import Result

_MOST_BARS = 24


def categories_of_sweep(records: Sequence[RunRecord]) -> CategoriesPlot:
    """Return a bar for each variant at each batch size; of too many sizes, some from the whole range."""
    variants = variants_of(records)
    sizes = sorted({record.batch_size for record in records})
    shown = _spread(sizes, max(2, _MOST_BARS // len(variants)))
    bars = [
        _bar(f"batch {size:,}", name, record)
        for size in shown
        for name, rows in variants.items()
        for record in rows
        if record.batch_size == size
    ]
    more = f"{len(shown):,} of {len(sizes):,} batch sizes are shown." if len(shown) < len(sizes) else ""
    return _categories(records, bars, more)


def categories_of_comparison(result: Result) -> CategoriesPlot:
    """Return a bar for each variant that ran, under the same group and name as in the table."""
    # An interrupted comparison has fewer records than variants; they are the first ones.
    pairs = zip(result.manifest.variants, result.records, strict=False)
    bars = [_bar(plan.group, plan.name, record) for plan, record in pairs]
    return _categories(result.records, bars)


def _categories(records: Sequence[RunRecord], bars: Sequence[Bar], more: str = "") -> CategoriesPlot:
    highest_bytes = readings.highest_bytes(records)
    limit = readings.limit_of(records)
    if limit is not None and limit.total_bytes > LIMIT_NEAR * highest_bytes:
        limit = None
    peaks = records[0].source is not Source.ANALYTIC
    return CategoriesPlot(
        heading=readings.heading("memory by category", records, more=more),
        bars=tuple(bars),
        axis=byte_axis(max(highest_bytes, limit.total_bytes if limit else 0)),
        limit=limit,
        total_name=SUM.heading,
        peak_name=f"{records[0].source.value} peak" if peaks else "",
    )


def _bar(group: str, name: str, record: RunRecord) -> Bar:
    return Bar(
        group=group,
        name=name,
        parts=readings.analytic_parts(record.breakdown),
        total_bytes=readings.total(record),
        peak_bytes=readings.peak(record),
        end=record.status,
    )


def categories_of_explanation(explained: Explained) -> CategoriesPlot:
    """Return a bar for the analytic estimate, then one for each memory level at its peak, each with its parts.

    Raises:
        ResultError: nothing ran.
    """
    record, explanation = explained.record, explained.explanation
    if explanation is None:
        raise nothing_ran(record)
    star = ""
    levels = [("allocated", explanation.allocated_parts, explanation.peak_allocated_bytes)]
    levels += [("reserved", explanation.reserved_parts, explanation.peak_reserved_bytes)]
    if explanation.device_parts is not None and explanation.nvml_used_bytes is not None:
        star = STAR if assumes_context(record.environment) else ""
        levels += [(f"device (NVML){star}", explanation.device_parts, explanation.nvml_used_bytes)]
    whole = replace(_bar(Source.ANALYTIC.value, SUM.heading, record), peak_bytes=None)
    analytic = [whole] if record.breakdown else []
    bars = [_level_bar(f"{record.source.value}, at the peak of", *level) for level in levels]
    more = ["The analytic categories need not all exist at the peak."] if analytic else []
    more += context_notes(star)
    return CategoriesPlot(
        heading=readings.heading("memory at the peak", [record], stack=False, more=" ".join(more)),
        bars=(*analytic, *bars),
        axis=byte_axis(max([total for _, _, total in levels] + [readings.total(record) or 0])),
        limit=None,
        total_name="total",
        peak_name="",
    )


def nothing_ran(record: RunRecord) -> ResultError:
    """Return the error for an explanation of a run that did not start."""
    return ResultError(f"nothing to plot: nothing ran; {record.error or record.status.value}")


def _level_bar(group: str, name: str, parts: Parts, total_bytes: int) -> Bar:
    return Bar(group=group, name=name, parts=parts, total_bytes=total_bytes, peak_bytes=None, end=Status.OK)


def _spread(sizes: Sequence[int], most: int) -> list[int]:
    """The first, the last and `most` minus 2 between them, evenly spaced."""
    if len(sizes) <= most:
        return list(sizes)
    last = len(sizes) - 1
    return [sizes[round(place * last / (most - 1))] for place in range(most)]
