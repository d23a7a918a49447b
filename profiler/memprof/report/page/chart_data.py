"""The charts of the page, from the pictures that `memprof plot` draws, and that of a search for the largest batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from memprof.records import MaxBatch, Source, Status, Trial
from memprof.report.page.charts import Band, Chart, Line, Mark
from memprof.report.page.scales import Scale, batch_scale, byte_scale, line_scale, position_scale
from memprof.report.plots.axes import byte_axis
from memprof.report.plots.figures import BatchPicture, TimelinePicture
from memprof.units import format_bytes

_LINE_COLOURS = 6  # of the style sheet
_NEAR = 3  # a ceiling up to so many times the highest value is drawn; above, the values would lie on the floor


def batch_chart(picture: BatchPicture) -> Chart:
    """Return the peak of each curve over batch size, and the textbook's totals dashed."""
    sizes = sorted({size for curve in picture.curves for size in curve.batch_sizes})
    lines = []
    for number, curve in enumerate(picture.curves):
        colour = f"line-{number % _LINE_COLOURS}"
        at = {size: place for place, size in enumerate(curve.batch_sizes)}
        peaks, totals = (
            tuple(values[at[size]] if size in at else None for size in sizes)
            for values in (curve.peaks_bytes, curve.totals_bytes)
        )
        if picture.heading.source is not Source.ANALYTIC:
            lines.append(Line(name=curve.name, colour=colour, ys=peaks))
        lines.append(Line(name=f"{curve.name}, analytic", colour=colour, ys=totals, look="dashed"))
    source, limit = picture.heading.source, picture.limit
    figure = "Analytic total" if source is Source.ANALYTIC else f"Peak allocated ({source.value}) and analytic total"
    room = {f"memory of {limit.gpu}": limit.total_bytes} if limit else {}
    caption = f"{figure} against batch size"
    axis = (sizes, batch_scale(sizes))
    return _over_batches("batch-chart", caption, axis, lines, room, apart=picture.limit_apart)


def tries_chart(answer: MaxBatch) -> Chart:
    """Return what each try held, allocated and on the device, up to the memory that there is, and the fitted line."""
    trials = sorted({done.batch_size: done for done in (*answer.trials, *answer.more_trials)}.values(), key=_batch_size)
    sizes = [0, *(done.batch_size for done in trials)]  # from no sample on, whose bytes are those that are fixed
    lines = [
        Line(name="device", colour="line-0", ys=_held(trials, device=True, trained=True)),
        Line(name="allocated", colour="line-1", ys=_held(trials, device=False, trained=True)),
        Line(name="did not train (device)", colour="alarm", ys=_held(trials, device=True, trained=False), look="dots"),
    ]
    if answer.fit is not None:
        fitted = tuple(answer.fit.fixed_bytes + size * answer.fit.bytes_per_sample for size in sizes)
        lines.append(Line(name="allocated, fitted line", colour="line-1", ys=fitted, look="dashed"))
    shown = [line for line in lines if any(y is not None for y in line.ys)]
    room = answer.memory_limit_bytes or answer.gpu_total_bytes
    name = "memory limit" if answer.memory_limit_bytes else f"memory of {answer.gpu}"
    return _over_batches(
        "trials-chart",
        f"What each try held ({answer.source.value})",
        (sizes, line_scale(sizes)),
        shown,
        {name: room} if room else {},
        apart=room is not None and room > _NEAR * _highest(shown),
    )


def _batch_size(done: Trial) -> int:
    return done.batch_size


def _held(trials: Sequence[Trial], *, device: bool, trained: bool) -> tuple[int | None, ...]:
    """The bytes of the trials that trained, or of the others; none at batch size 0."""
    figures = [done.device_bytes if device else done.peak_allocated_bytes for done in trials]
    ended = [done.status is Status.OK for done in trials]
    return (None, *(figure if ok is trained else None for ok, figure in zip(ended, figures, strict=True)))


def _highest(lines: Sequence[Line]) -> int:
    return max((y for line in lines for y in line.ys if y is not None), default=0)


def _over_batches(
    name: str,
    caption: str,
    axis: tuple[Sequence[int], Scale],
    lines: Sequence[Line],
    room: Mapping[str, int],
    *,
    apart: bool,
) -> Chart:
    """Return lines over batch sizes, below the room that there is; room far `apart` is told beneath instead."""
    far = tuple(f"Far above, not drawn: {label}, {format_bytes(size)}." for label, size in room.items() if apart)
    ceilings = {} if apart else room
    sizes, scale = axis
    return Chart(
        id=name,
        caption=caption,
        x_label="batch size (logarithmic)" if scale.log else "batch size",
        xs=tuple(sizes),
        lines=tuple(lines),
        x_scale=scale,
        y_scale=byte_scale(byte_axis(max(_highest(lines), *ceilings.values(), 0))),
        ceilings=ceilings,
        notes=far,
    )


def timeline_chart(picture: TimelinePicture) -> Chart:
    """Return the parts of memory through the step of the peak, stacked, under the names of the phases."""
    peak = f"peak {format_bytes(picture.peak_bytes)}"
    return Chart(
        id="timeline-chart",
        caption=f"Allocated memory through the step of the peak ({picture.heading.source.value})",
        x_label="allocations and frees from the step's begin",
        xs=picture.positions,
        lines=tuple(
            Line(
                name=layer.part.replace("_", " "),
                colour=f"part-{layer.part}",
                ys=layer.values_bytes,
                look="area",
            )
            for layer in picture.layers
        ),
        x_scale=position_scale(picture.positions),
        y_scale=byte_scale(picture.axis),
        bands=tuple(Band(name=span.name, start=span.start, end=span.end) for span in picture.spans),
        marks=(Mark(x=picture.peak_position, y=picture.peak_bytes, text=peak),),
        notes=(f"The peak is reached in {picture.peak_place}.",),
    )
