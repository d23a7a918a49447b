"""Peak memory against batch size: a panel for each variant, its analytic stack beneath its line."""

from __future__ import annotations

from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from memprof.records import Status
from memprof.report.plots.colors import Theme
from memprof.report.plots.figures import BatchPicture, Curve, Limit
from memprof.report.plots.matplotlib_backend.frame import MARGIN, SMALL, Frame, frame, halo, part_handles, scale_bytes
from memprof.units import format_bytes

_LEFT, _BELOW, _BETWEEN = 0.85, 0.45, 0.3  # inches: of ticks and labels
_STRIP, _CUT = 0.62, 0.1  # the limit's own scale above the data, and the gap that shows that the axis is cut
_MOST_LABELLED, _MOST_LARGE = 6, 12  # points with a figure, and with a large mark
_THIN = 0.01  # of the axis: a line between layers would hide one that is thinner


def draw_batch(picture: BatchPicture, theme: Theme) -> Figure:
    """Return the figure; a limit far above the data has a strip of its own above each panel."""
    count = len(picture.curves)
    columns = min(count, 3)
    rows = -(-count // columns)
    wide, high = {1: (6.6, 3.5), 2: (4.3, 3.2)}.get(columns, (3.5, 2.9))
    tall = high + _title(picture) + _BELOW
    width = _LEFT + columns * wide + (columns - 1) * _BETWEEN + MARGIN
    made = frame(picture.heading, theme, width, rows * tall, _legend(picture, theme))
    for place, curve in enumerate(picture.curves):
        row, column = divmod(place, columns)
        left, bottom = _LEFT + column * (wide + _BETWEEN), made.top - (row + 1) * tall + _BELOW
        _panel(made, picture, curve, theme, (left, bottom, wide, high))
    return made.figure


def _title(picture: BatchPicture) -> float:
    """The inches above a panel: for its name, and for the word about the first batch size that did not fit."""
    ooms = any(end is Status.OOM for curve in picture.curves for _, end in curve.ended())
    return (0.3 if len(picture.curves) > 1 else 0.1) + 0.16 * ooms


def _panel(
    made: Frame, picture: BatchPicture, curve: Curve, theme: Theme, place: tuple[float, float, float, float]
) -> None:
    left, bottom, wide, high = place
    data = made.axes(left, bottom, wide, high - (_STRIP + _CUT) * picture.limit_apart)
    scale_bytes(data, picture.axis, along="y")
    _scale_batches(data, picture)
    first = left == _LEFT
    data.tick_params(labelleft=first)
    data.set_xlabel("batch size")
    if first:
        data.set_ylabel(f"memory ({picture.axis.unit})")
    limit_axes = data
    if picture.limit_apart and picture.limit:
        limit_axes = _strip(made, data, picture.limit, (left, bottom + high - _STRIP, wide), theme)
        _scale_batches(limit_axes, picture)
        limit_axes.tick_params(labelbottom=False, labelleft=first)
    for axes in {data: None, limit_axes: None}:
        _stack(axes, picture, curve, theme)
    if picture.limit:
        _limit_lines(limit_axes, picture.limit, theme, over_data=not picture.limit_apart)
    _lines(data, picture, curve, theme)
    _ends(data, limit_axes, picture, curve, theme)
    if len(picture.curves) > 1:
        ooms = any(end is Status.OOM for _, end in curve.ended())
        limit_axes.set_title(curve.name, loc="left", fontsize=9.5, weight="bold", color=theme.ink, pad=6 + 12 * ooms)


def _strip(made: Frame, data: Axes, limit: Limit, place: tuple[float, float, float], theme: Theme) -> Axes:
    """Axes for the limit alone, above a cut of the scale that two strokes at its left end show."""
    left, bottom, wide = place
    strip = made.axes(left, bottom, wide, _STRIP)
    strip.spines["bottom"].set_visible(False)
    strip.set_ylim(limit.total_bytes * 0.68, limit.total_bytes * 1.08)
    strip.set_yticks([])
    strip.set_facecolor(theme.band)
    stroke: dict[str, Any] = {
        "marker": [(-1, -0.6), (1, 0.6)],
        "markersize": 9,
        "color": theme.muted,
        "clip_on": False,
        "ls": "none",
    }
    data.plot([0], [1], transform=data.transAxes, **stroke)
    strip.plot([0], [0], transform=strip.transAxes, **stroke)
    return strip


def _scale_batches(axes: Axes, picture: BatchPicture) -> None:
    sizes = [size for curve in picture.curves for size in curve.batch_sizes]
    low, high = min(sizes), max(sizes)
    if picture.batches.logarithmic:
        axes.set_xscale("log", base=2)
        beside = (high / low) ** 0.06
        axes.set_xlim(low / beside, high * beside)
    else:
        beside = 0.06 * (high - low) or 0.5 * high
        axes.set_xlim(low - beside, high + beside)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(picture.batches.ticks, [str(tick) for tick in picture.batches.ticks])


def _stack(axes: Axes, picture: BatchPicture, curve: Curve, theme: Theme) -> None:
    sizes = [float(size) for size in curve.batch_sizes]
    layers = [
        [float("nan") if value is None else float(value) for value in layer.values_bytes] for layer in curve.layers
    ]
    if len(sizes) == 1:  # one point has no area: a bar around it
        sizes, layers = [sizes[0] * 0.9, sizes[0] * 1.1], [[*values, *values] for values in layers]
    lower = [0.0] * len(sizes)
    for layer, values in zip(curve.layers, layers, strict=True):
        upper = [below + value for below, value in zip(lower, values, strict=True)]
        colour = theme.part(layer.part)
        edge = 0.5 if max(values) > _THIN * picture.axis.top_bytes else 0.0
        axes.fill_between(sizes, lower, upper, facecolor=colour, edgecolor=theme.background, linewidth=edge)
        lower = upper


def _limit_lines(axes: Axes, limit: Limit, theme: Theme, *, over_data: bool) -> None:
    lines = ((limit.total_bytes, "-", "all of the GPU"), (limit.safe_bytes, (0, (4, 2)), "0.8 of it"))
    for value, style, name in lines:
        axes.axhline(value, color=theme.alarm, linewidth=1.2, linestyle=style)
        axes.annotate(
            f"{name}: {format_bytes(value)}",
            (0, value),
            xycoords=("axes fraction", "data"),
            xytext=(4, -3),
            textcoords="offset points",
            va="top",
            size=SMALL,
            color=theme.alarm,
            path_effects=halo(theme) if over_data else [],
        )


def _lines(axes: Axes, picture: BatchPicture, curve: Curve, theme: Theme) -> None:
    for other in picture.curves:
        if other is not curve and other.ran():
            axes.plot(*zip(*other.ran(), strict=True), color=theme.muted, linewidth=0.9, linestyle=(0, (5, 2)))
    reserved = [pair for pair in zip(curve.batch_sizes, curve.reserved_bytes, strict=True) if pair[1] is not None]
    if reserved:
        axes.plot(*zip(*reserved, strict=True), **_reserved_style(theme))
    ran = curve.ran()
    if ran:
        style = _peak_style(theme) if len(ran) <= _MOST_LARGE else {**_peak_style(theme), "markersize": 3.5}
        axes.plot(*zip(*ran, strict=True), **style)
    labelled = ran if len(ran) <= _MOST_LABELLED else [ran[0], ran[-1]]
    for size, peak_bytes in labelled:
        axes.annotate(
            f"{peak_bytes / picture.axis.unit_bytes:,.2f}",
            (size, peak_bytes),
            xytext=(3, 5),
            textcoords="offset points",
            ha="right",
            size=SMALL,
            path_effects=halo(theme),
        )


def _peak_style(theme: Theme) -> dict[str, Any]:
    return {
        "color": theme.ink,
        "linewidth": 1.8,
        "marker": "o",
        "markersize": 5.5,
        "markeredgecolor": theme.background,
        "zorder": 4,
    }


def _reserved_style(theme: Theme) -> dict[str, Any]:
    return {"color": theme.ink, "linewidth": 1.1, "linestyle": (0, (1, 1.6)), "zorder": 3}


def _ends(data: Axes, limit_axes: Axes, picture: BatchPicture, curve: Curve, theme: Theme) -> None:
    """Mark what did not get to its end: out of memory on the limit's line, anything else at the foot."""
    for size, end in curve.ended():
        oom = end is Status.OOM
        high = picture.limit.total_bytes if oom and picture.limit else 0
        axes = limit_axes if oom and picture.limit else data
        axes.plot([size], [high], **_end_style(theme, oom=oom))
    first = next((size for size, end in curve.ended() if end is Status.OOM), None)
    if first is not None:
        limit_axes.annotate(
            f"out of memory{_needed(curve, first)}",
            (first, 1),
            xycoords=("data", "axes fraction"),
            xytext=(6, 4),
            textcoords="offset points",
            ha="right",
            size=SMALL,
            weight="bold",
            color=theme.alarm,
            annotation_clip=False,
        )


def _needed(curve: Curve, size: int) -> str:
    total_bytes = curve.totals_bytes[curve.batch_sizes.index(size)]
    return f" (analytic: {format_bytes(total_bytes)})" if total_bytes is not None else ""


def _end_style(theme: Theme, *, oom: bool) -> dict[str, Any]:
    return {
        "marker": "X" if oom else "v",
        "markersize": 10 if oom else 8,
        "color": theme.alarm,
        "markeredgecolor": theme.background,
        "linestyle": "none",
        "clip_on": False,
        "zorder": 5,
    }


def _legend(picture: BatchPicture, theme: Theme) -> dict[str, Artist]:
    curves = picture.curves
    entries: dict[str, Artist] = {}
    if any(curve.ran() for curve in curves):
        entries[f"peak allocated ({picture.heading.source.value})"] = _line(_peak_style(theme))
        entries[f"peak reserved ({picture.heading.source.value})"] = _line(_reserved_style(theme))
    if len(curves) > 1 and any(curve.ran() for curve in curves):
        entries["peaks of the others"] = _line({"color": theme.muted, "linewidth": 0.9, "linestyle": (0, (5, 2))})
    ends = {end for curve in curves for _, end in curve.ended()}
    if Status.OOM in ends:
        entries["out of memory"] = _line(_end_style(theme, oom=True))
    failed = sorted(end.value for end in ends - {Status.OOM})
    if failed:
        entries[" or ".join(failed)] = _line(_end_style(theme, oom=False))
    return {**entries, **part_handles({layer.part for curve in curves for layer in curve.layers}, theme)}


def _line(style: dict[str, Any]) -> Line2D:
    return Line2D([], [], **style)
