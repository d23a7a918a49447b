"""Results turned into pictures: which figures are drawn, beside which words, on which scale. Nothing is drawn here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from memprof.breakdown.explanation import Explained, Explanation, Parts, PeakContext
from memprof.errors import ConfigError, ResultError
from memprof.records import Breakdown, RunRecord, Source, Status
from memprof.report.labels import gpu_label
from memprof.report.plots.axes import batch_axis, byte_axis
from memprof.report.plots.colors import in_stack_order
from memprof.report.plots.figures import (
    Bar,
    BatchPicture,
    CategoriesPicture,
    Curve,
    Heading,
    Layer,
    Limit,
    Picture,
    PictureKind,
    Span,
    TimelinePicture,
)
from memprof.results import Kind, Result, load_document
from memprof.units import format_bytes

T = TypeVar("T")

# The pictures of each kind of result; the first is the one that is drawn unless another is asked for.
PICTURES: Mapping[Kind, tuple[PictureKind, ...]] = {
    Kind.SWEEP: (PictureKind.BATCH, PictureKind.CATEGORIES),
    Kind.COMPARE: (PictureKind.CATEGORIES,),
    Kind.EXPLAIN: (PictureKind.TIMELINE, PictureKind.CATEGORIES),
}
_ANALYTIC_PARTS = ("parameters", "buffers", "gradients", "optimizer_state", "input", "activations")
_LIMIT_NEAR = 2.5  # a limit above so many times the highest value would squash what is below it
_MOST_BARS = 24
_NOTES = {
    Source.MEASURED: "measured: PyTorch's counters on the GPU",
    Source.EMULATED: "emulated: PyTorch's counters on a phantom GPU, whose kernels do not run",
}
_ANALYTIC_NOTE = "analytic: the stack, from shapes and dtypes alone"


def kinds_with(kind: PictureKind | None) -> tuple[Kind, ...]:
    """Return the kinds of results that have a picture of this kind, or any picture."""
    return tuple(of for of, pictures in PICTURES.items() if kind is None or kind in pictures)


def picture_of(result: Result, kind: PictureKind | None = None) -> Picture:
    """Return a picture of a saved result: the one of `kind`, or the first of those that suit the result.

    Raises:
        ConfigError: the result has no picture of that kind.
        ResultError: nothing in the result can be drawn, or its document cannot be read.
    """
    has = PICTURES[result.manifest.kind]
    if kind is not None and kind not in has:
        suits = " or ".join(has)
        raise ConfigError(f"--kind {kind}: {result.path} holds {result.manifest.kind.noun}, whose kinds are {suits}")
    if result.manifest.kind is Kind.EXPLAIN:
        return _of_explanation(result, kind or PictureKind.TIMELINE)
    _check_drawable(result)
    if result.manifest.kind is Kind.COMPARE:
        return categories_of_comparison(result)
    one_size = len({record.batch_size for record in result.records}) == 1
    categories = kind is PictureKind.CATEGORIES or (kind is None and one_size)
    return categories_of_sweep(result.records) if categories else batch_picture(result.records)


def _of_explanation(result: Result, kind: PictureKind) -> Picture:
    explained = load_document(result.path, Explained)
    try:
        timeline = kind is PictureKind.TIMELINE
        return timeline_picture(explained) if timeline else categories_of_explanation(explained)
    except ResultError as error:
        raise ResultError(f"{result.path}: {error}") from None


def _check_drawable(result: Result) -> None:
    if not result.records:
        raise ResultError(f"{result.path}: nothing to plot: it has no rows")
    failed = [record for record in result.records if record.status not in (Status.OK, Status.OOM)]
    if len(failed) == len(result.records):
        why = failed[0].error or failed[0].status.value
        raise ResultError(f"{result.path}: nothing to plot: all {len(failed)} rows failed; the first: {why}")
    if not any(_peak(record) or _total(record) for record in result.records):
        raise ResultError(f"{result.path}: nothing to plot: no row has a peak or an analytic total")


def batch_picture(records: Sequence[RunRecord]) -> BatchPicture:
    """Return the peaks of a sweep against batch size, a curve for each optimizer and precision."""
    curves = tuple(_curve(name, rows) for name, rows in _variants(records).items())
    highest_bytes = _highest(records)
    limit = _limit(records)
    apart = limit is not None and limit.total_bytes > _LIMIT_NEAR * highest_bytes
    if limit is not None and not apart:
        highest_bytes = max(highest_bytes, limit.total_bytes)
    return BatchPicture(
        heading=_heading("peak memory against batch size", records),
        curves=curves,
        axis=byte_axis(highest_bytes),
        batches=batch_axis(sorted({record.batch_size for record in records})),
        limit=limit,
        limit_apart=apart,
    )


def _variants(records: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """The records of each variant by batch size; of several with the same name and size the last one counts."""
    several = len({record.precision for record in records}) > 1
    variants: dict[str, dict[int, RunRecord]] = {}
    for record in records:
        name = record.optimizer or record.mode
        name = f"{name}, {record.precision}" if several else name
        variants.setdefault(name, {})[record.batch_size] = record
    return {name: [rows[size] for size in sorted(rows)] for name, rows in variants.items()}


def _curve(name: str, records: Sequence[RunRecord]) -> Curve:
    stacks = [_parts(record.breakdown) for record in records]
    layers = [
        Layer(part=part, values_bytes=tuple(None if parts is None else parts[part] for parts in stacks))
        for part in _ANALYTIC_PARTS
    ]
    return Curve(
        name=name,
        batch_sizes=tuple(record.batch_size for record in records),
        peaks_bytes=tuple(_peak(record) for record in records),
        reserved_bytes=tuple(_reserved(record) for record in records),
        totals_bytes=tuple(_total(record) for record in records),
        layers=tuple(layer for layer in layers if any(layer.values_bytes)),
        ends=tuple(record.status for record in records),
    )


def categories_of_sweep(records: Sequence[RunRecord]) -> CategoriesPicture:
    """Return a bar for each variant of a sweep at each batch size; of too many sizes, some from the whole range."""
    variants = _variants(records)
    sizes = sorted({record.batch_size for record in records})
    shown = _spread(sizes, max(2, _MOST_BARS // len(variants)))
    bars = [
        _bar(f"batch {size}", name, record)
        for size in shown
        for name, rows in variants.items()
        for record in rows
        if record.batch_size == size
    ]
    left_out = f"{len(shown)} of {len(sizes)} batch sizes" if len(shown) < len(sizes) else None
    return _categories("memory by category", records, bars, left_out)


def categories_of_comparison(result: Result) -> CategoriesPicture:
    """Return a bar for each variant of a comparison that has run, under its group and name of the table."""
    # Strict would refuse a comparison that was stopped: its rows are the first ones.
    pairs = zip(result.manifest.variants, result.records, strict=False)
    bars = [_bar(plan.group, plan.name, record) for plan, record in pairs]
    return _categories("memory by category", result.records, bars)


def _categories(
    about: str, records: Sequence[RunRecord], bars: Sequence[Bar], left_out: str | None = None
) -> CategoriesPicture:
    highest_bytes = _highest(records)
    limit = _limit(records)
    if limit is not None and limit.total_bytes > _LIMIT_NEAR * highest_bytes:
        limit = None
    peaks = records[0].source is not Source.ANALYTIC
    return CategoriesPicture(
        heading=_heading(about, records, more=left_out),
        bars=tuple(bars),
        axis=byte_axis(max(highest_bytes, limit.total_bytes if limit else 0)),
        limit=limit,
        total_name=Source.ANALYTIC.value,
        peak_name=f"{records[0].source.value} peak" if peaks else "",
    )


def _bar(group: str, name: str, record: RunRecord) -> Bar:
    return Bar(
        group=group,
        name=name,
        parts=_parts(record.breakdown),
        total_bytes=_total(record),
        peak_bytes=_peak(record),
        end=record.status,
    )


def categories_of_explanation(explained: Explained) -> CategoriesPicture:
    """Return the analytic sum of an explained run above what was there at its peaks, each with its parts."""
    record, explanation = explained.record, _explanation(explained)
    allocated_bytes, reserved_bytes = explanation.peak_allocated_bytes, explanation.peak_reserved_bytes
    read = [("allocated", explanation.allocated_parts, allocated_bytes)]
    read += [("reserved", explanation.reserved_parts, reserved_bytes)]
    if explanation.device_parts is not None and explanation.nvml_used_bytes is not None:
        read += [("device (NVML)", explanation.device_parts, explanation.nvml_used_bytes)]
    note = "; ".join((_NOTES[record.source], "analytic: from shapes and dtypes alone"))
    whole = replace(_bar(Source.ANALYTIC.value, "total", record), peak_bytes=None)
    analytic = [whole] if record.breakdown else []
    bars = [_read_bar(f"{record.source.value}, at the peak of", *each) for each in read]
    return CategoriesPicture(
        heading=replace(_heading("memory at the peak", [record]), note=note),
        bars=(*analytic, *bars),
        axis=byte_axis(max([total for _, _, total in read] + [_total(record) or 0])),
        limit=None,
        total_name="total",
        peak_name="",
    )


def _read_bar(group: str, name: str, parts: Parts, total_bytes: int) -> Bar:
    return Bar(group=group, name=name, parts=parts, total_bytes=total_bytes, peak_bytes=None, end=Status.OK)


def timeline_picture(explained: Explained) -> TimelinePicture:
    """Return allocated memory by category through the step of an explained peak.

    Raises:
        ResultError: nothing ran, or the timeline is empty.
    """
    explanation = _explanation(explained)
    timeline = explanation.timeline
    if not timeline.positions:
        raise ResultError("nothing to plot: the timeline is empty")
    parts = in_stack_order(timeline.series)
    layers = [Layer(part=part, values_bytes=tuple(timeline.series[part])) for part in parts]
    highest = max(explanation.peak_allocated_bytes, explanation.peak_reserved_bytes)
    step = f"step {timeline.step}" if timeline.step is not None else "the step of the peak"
    return TimelinePicture(
        heading=_heading(f"allocated memory through {step}", [explained.record], analytic=False),
        positions=timeline.positions,
        layers=tuple(layer for layer in layers if any(layer.values_bytes)),
        spans=tuple(
            Span(name=span.phase.value if span.phase else "", start=span.start, end=span.end) for span in timeline.spans
        ),
        peak_position=timeline.peak_position,
        peak_bytes=explanation.peak_allocated_bytes,
        peak_place=_place(explanation.peak),
        reserved_bytes=explanation.peak_reserved_bytes,
        axis=byte_axis(highest),
    )


def _explanation(explained: Explained) -> Explanation:
    if explained.explanation is None:
        record = explained.record
        raise ResultError(f"nothing to plot: nothing ran; {record.error or record.status.value}")
    return explained.explanation


def _place(moment: PeakContext) -> str:
    where = "the model" if moment.module == "" else moment.module
    phase = moment.phase.value if moment.phase else None
    stretch = f"{phase} of {where}" if phase and where else phase or where
    return ", ".join(part for part in (stretch, moment.operator) if part)


def _heading(about: str, records: Sequence[RunRecord], *, analytic: bool = True, more: str | None = None) -> Heading:
    """The circumstances that all records share; those in which they differ are named where they stand."""
    first = records[0]
    model = _shared(records, lambda record: record.model)
    gpu = _shared(records, lambda record: record.environment.gpu)
    total_bytes = _shared(records, lambda record: record.environment.gpu_total_bytes)
    cudnn = _shared(records, lambda record: record.environment.cudnn_version)
    circumstances = (
        gpu_label(gpu, first.source) if gpu else None,
        format_bytes(total_bytes) if total_bytes else None,
        first.source.value,
        _shared(records, lambda record: record.optimizer),
        _shared(records, lambda record: record.precision),
        _shared(records, lambda record: record.mode),
        _batch(_shared(records, lambda record: record.batch_size)),
        f"torch {first.environment.torch_version}",
        f"cuDNN {cudnn}" if cudnn else None,
    )
    stacked = analytic and any(record.breakdown for record in records)
    notes = (_NOTES.get(first.source), _ANALYTIC_NOTE if stacked else None, more)
    return Heading(
        title=f"{model}: {about}" if model else about,
        circumstances=" · ".join(part for part in circumstances if part),
        note="; ".join(part for part in notes if part),
        source=first.source,
    )


def _batch(size: int | None) -> str | None:
    return None if size is None else f"batch {size}"


def _shared(records: Sequence[RunRecord], value: Callable[[RunRecord], T]) -> T | None:
    values = {value(record) for record in records}
    return values.pop() if len(values) == 1 else None


def _limit(records: Sequence[RunRecord]) -> Limit | None:
    total_bytes = _shared(records, lambda record: record.environment.gpu_total_bytes)
    gpu = _shared(records, lambda record: record.environment.gpu)
    return Limit(gpu=gpu or "", total_bytes=total_bytes) if total_bytes else None


def _highest(records: Sequence[RunRecord]) -> int:
    """The highest figure of the runs that got to their end; of all runs where none did, at most the limit."""
    well = [record for record in records if record.status is Status.OK]
    values = [value or 0 for record in well for value in (_peak(record), _reserved(record), _total(record))]
    if values:
        return max(values)
    limit = _limit(records)
    return limit.total_bytes if limit else max(_total(record) or 0 for record in records)


def _peak(record: RunRecord) -> int | None:
    return record.reading.peak_allocated_bytes if record.reading and record.status is Status.OK else None


def _reserved(record: RunRecord) -> int | None:
    return record.reading.peak_reserved_bytes if record.reading and record.status is Status.OK else None


def _total(record: RunRecord) -> int | None:
    return record.breakdown.total_bytes if record.breakdown else None


def _parts(breakdown: Breakdown | None) -> dict[str, int] | None:
    """The six parts by name, or ``None`` where one of them is unknown: a stack without it would say too little."""
    if breakdown is None or breakdown.total_bytes is None:
        return None
    return {part: getattr(breakdown, f"{part}_bytes") for part in _ANALYTIC_PARTS}


def _spread(sizes: Sequence[int], most: int) -> list[int]:
    """The first, the last and those between that lie evenly apart, `most` of them."""
    if len(sizes) <= most:
        return list(sizes)
    last = len(sizes) - 1
    return [sizes[round(place * last / (most - 1))] for place in range(most)]
