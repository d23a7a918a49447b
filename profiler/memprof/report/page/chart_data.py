"""The charts of the page, from the data model of `memprof plot` and from the trials of a max-batch search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from memprof.records import MaxBatch, Source, Status, Trial
from memprof.report.assumed import answers_star, context_notes
from memprof.report.figures import ESTIMATE
from memprof.report.labels import part_name
from memprof.report.page.charts import Band, Chart, Line, Mark
from memprof.report.page.scales import batch_scale, byte_scale, line_scale, position_scale
from memprof.report.plots.axes import byte_axis
from memprof.report.plots.elements import BatchPlot, Curve, TimelinePlot
from memprof.units import format_bytes

_BATCH_SIZE = "batch size"
_LINE_COLORS = 6  # in the style sheet
_NEAR = 3  # a ceiling above this multiple of the highest value is not drawn, because it would squash the lines


def batch_chart(plot: BatchPlot) -> Chart:
    """Return the peak of each curve over batch size, and its analytic estimate as a wide line under it."""
    sizes = sorted({size for curve in plot.curves for size in curve.batch_sizes})
    source, limit = plot.heading.source, plot.limit
    lines = [
        line
        for number, curve in enumerate(plot.curves)
        for line in _curve_lines(curve, f"line-{number % _LINE_COLORS}", sizes, source)
    ]
    peaks = "" if source is Source.ANALYTIC else f"Peak allocated ({source.value}) and "
    caption = f"{peaks}analytic {ESTIMATE.heading} against batch size"
    memory = {f"memory of {limit.gpu}": limit.total_bytes} if limit else {}
    scale = batch_scale(sizes)
    return Chart(
        id="batch-chart",
        caption=caption[0].upper() + caption[1:],
        x_label=f"{_BATCH_SIZE} (logarithmic)" if scale.log else _BATCH_SIZE,
        xs=tuple(sizes),
        lines=tuple(lines),
        x_scale=scale,
        y_scale=byte_scale(plot.axis),  # of the runs that finished: the estimate of another may be far above it
        ceilings={} if plot.limit_apart else memory,
        notes=(*_not_drawn(memory, plot.limit_apart), *_beyond(plot)),
    )


def _not_drawn(memory: Mapping[str, int], apart: bool) -> tuple[str, ...]:
    return tuple(f"Far above, not drawn: {label}, {format_bytes(size)}." for label, size in memory.items() if apart)


def _beyond(plot: BatchPlot) -> tuple[str, ...]:
    totals = [total for curve in plot.curves for total in curve.estimates_bytes if total is not None]
    return ("Estimates above the axis are in the table.",) if max(totals, default=0) > plot.axis.top_bytes else ()


def _curve_lines(curve: Curve, color: str, sizes: Sequence[int], source: Source) -> list[Line]:
    index = {size: place for place, size in enumerate(curve.batch_sizes)}
    peaks, totals = (
        tuple(values[index[size]] if size in index else None for size in sizes)
        for values in (curve.peaks_bytes, curve.estimates_bytes)
    )
    name = f"{curve.name}, {ESTIMATE.heading}"
    if source is Source.ANALYTIC:
        return [Line(name=name, color=color, ys=totals)]
    return [Line(name=curve.name, color=color, ys=peaks), Line(name=name, color=color, ys=totals, look="wide")]


def trials_chart(answer: MaxBatch) -> Chart:
    """Return what each trial allocated and what the device held, up to the memory limit, with the fitted line."""
    trials = sorted({done.batch_size: done for done in (*answer.trials, *answer.more_trials)}.values(), key=_batch_size)
    sizes = [0, *(done.batch_size for done in trials)]  # from batch size 0 on, at which the fixed bytes remain
    shown = [line for line in _trial_lines(answer, trials, sizes) if any(y is not None for y in line.ys)]
    size = answer.memory_limit_bytes or answer.gpu_total_bytes
    memory = {"memory limit" if answer.memory_limit_bytes else f"memory of {answer.gpu}": size} if size else {}
    highest = max((y for line in shown for y in line.ys if y is not None), default=0)
    apart = size is not None and size > _NEAR * highest
    return Chart(
        id="trials-chart",
        caption=f"Memory of each trial ({answer.source.value})",
        x_label=_BATCH_SIZE,
        xs=tuple(sizes),
        lines=tuple(shown),
        x_scale=line_scale(sizes),
        y_scale=byte_scale(byte_axis(highest if apart else max(highest, size or 0))),
        ceilings={} if apart else memory,
        notes=(*_not_drawn(memory, apart), *context_notes(answers_star([answer]))),
    )


def _trial_lines(answer: MaxBatch, trials: Sequence[Trial], sizes: Sequence[int]) -> list[Line]:
    fitted = _fitted(answer, sizes)
    allocated, failed = _held(trials, device=False, trained=True), _held(trials, device=True, trained=False)
    return [
        Line(name=f"device{answers_star([answer])}", color="line-0", ys=_held(trials, device=True, trained=True)),
        # Only dots, if there is a fitted line: a line between them would cover it.
        Line(name="allocated", color="line-1", ys=allocated, look="dots" if fitted else "line"),
        *fitted,
        Line(name="did not train (device until then)", color="alarm", ys=failed, look="dots"),
    ]


def _fitted(answer: MaxBatch, sizes: Sequence[int]) -> list[Line]:
    if answer.fit is None:
        return []
    ys = tuple(answer.fit.fixed_bytes + size * answer.fit.bytes_per_sample for size in sizes)
    return [Line(name="allocated, fitted line", color="line-1", ys=ys, look="dashed")]


def _batch_size(done: Trial) -> int:
    return done.batch_size


def _held(trials: Sequence[Trial], *, device: bool, trained: bool) -> tuple[int | None, ...]:
    """The bytes of the trials that trained, or of the others; none at batch size 0."""
    figures = [done.device_bytes if device else done.peak_allocated_bytes for done in trials]
    ended = [done.status is Status.OK for done in trials]
    return (None, *(figure if ok is trained else None for ok, figure in zip(ended, figures, strict=True)))


def timeline_chart(plot: TimelinePlot) -> Chart:
    """Return the parts of memory through the step of the peak, stacked, with the names of the phases."""
    peak = f"peak {format_bytes(plot.peak_bytes)}"
    lines = (
        Line(name=part_name(layer.part), color=f"part-{layer.part}", ys=layer.values_bytes, look="area")
        for layer in plot.layers
    )
    return Chart(
        id="timeline-chart",
        caption=f"Allocated memory through the step of the peak ({plot.heading.source.value})",
        x_label="allocator events since step start",
        xs=plot.positions,
        lines=tuple(lines),
        x_scale=position_scale(plot.positions),
        y_scale=byte_scale(plot.axis),
        bands=tuple(Band(name=span.name, start=span.start, end=span.end) for span in plot.spans),
        marks=(Mark(x=plot.peak_position, y=plot.peak_bytes, text=peak),),
        notes=(f"The peak is in {plot.peak_place}.",),
    )
