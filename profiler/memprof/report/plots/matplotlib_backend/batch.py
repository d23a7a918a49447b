"""Peak memory against batch size: a panel for each variant, with its line above its analytic stack."""

from __future__ import annotations

from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import NullLocator

from memprof.records import Status
from memprof.report.plots.colors import Theme
from memprof.report.plots.elements import BatchPlot, Curve, Limit
from memprof.report.plots.matplotlib_backend.frame import MARGIN, SMALL, Frame, frame, halo, part_handles, scale_bytes
from memprof.units import format_bytes

_LEFT, _BELOW, _BETWEEN = 0.85, 0.45, 0.3  # inches: of ticks and labels
_STRIP, _CUT = 0.62, 0.1  # the strip for the limit above the data, and the gap that shows that the axis is cut
_LABEL_ROOM, _RIGHT = 0.5, 0.06  # left of the first point: inches for its label; right of the last: share of the panel
_MOST_LABELLED, _MOST_LARGE = 6, 12  # points with a label, and with a large marker
_THIN = 0.01  # of the axis: a line between layers would hide a thinner layer


def draw_batch(plot: BatchPlot, theme: Theme) -> Figure:
    """Return the figure; a limit far above the data has its own strip above each panel."""
    count = len(plot.curves)
    columns = min(count, 3)
    rows = -(-count // columns)
    wide, high = {1: (6.6, 3.5), 2: (4.3, 3.2)}.get(columns, (3.5, 2.9))
    tall = high + _title(plot) + _BELOW
    width = _LEFT + columns * wide + (columns - 1) * _BETWEEN + MARGIN
    made = frame(plot.heading, theme, width, rows * tall, _legend(plot, theme))
    for place, curve in enumerate(plot.curves):
        row, column = divmod(place, columns)
        left, bottom = _LEFT + column * (wide + _BETWEEN), made.top - (row + 1) * tall + _BELOW
        _panel(made, plot, curve, theme, (left, bottom, wide, high))
    return made.figure


def _title(plot: BatchPlot) -> float:
    """The inches above a panel: for its name, and for the text about the first batch size that did not fit."""
    ooms = any(end is Status.OOM for curve in plot.curves for _, end in curve.unfinished())
    return (0.3 if len(plot.curves) > 1 else 0.1) + 0.16 * ooms


def _panel(made: Frame, plot: BatchPlot, curve: Curve, theme: Theme, place: tuple[float, float, float, float]) -> None:
    left, bottom, wide, high = place
    data = made.axes(left, bottom, wide, high - (_STRIP + _CUT) * plot.limit_apart)
    scale_bytes(data, plot.axis, along="y")
    _scale_batches(data, plot, wide)
    first = left == _LEFT
    data.tick_params(labelleft=first)
    data.set_xlabel("batch size")
    if first:
        data.set_ylabel(f"memory ({plot.axis.unit})")
    limit_axes = data
    if plot.limit_apart and plot.limit:
        limit_axes = _strip(made, data, plot.limit, (left, bottom + high - _STRIP, wide), theme)
        _scale_batches(limit_axes, plot, wide)
        limit_axes.tick_params(labelbottom=False, labelleft=first)
    for axes in {data: None, limit_axes: None}:
        _stack(axes, plot, curve, theme)
    if plot.limit:
        _limit_lines(limit_axes, plot.limit, theme, over_data=not plot.limit_apart)
    _lines(data, plot, curve, theme)
    _ends(data, limit_axes, plot, curve, theme)
    if len(plot.curves) > 1:
        ooms = any(end is Status.OOM for _, end in curve.unfinished())
        limit_axes.set_title(curve.name, loc="left", fontsize=9.5, weight="bold", color=theme.ink, pad=6 + 12 * ooms)


def _strip(made: Frame, data: Axes, limit: Limit, place: tuple[float, float, float], theme: Theme) -> Axes:
    """Axes for the limit alone, above a cut of the scale; two strokes at the left mark the cut."""
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


def _scale_batches(axes: Axes, plot: BatchPlot, wide: float) -> None:
    """Set the range, with room for the label of the first point on its left; `wide` is in inches."""
    sizes = [size for curve in plot.curves for size in curve.batch_sizes]
    low, high = min(sizes), max(sizes)
    before = _LABEL_ROOM / wide / (1 - _LABEL_ROOM / wide - _RIGHT)  # shares of the distance from low to high
    after = before * _RIGHT * wide / _LABEL_ROOM
    if plot.batches.logarithmic:
        axes.set_xscale("log", base=2)
        axes.set_xlim(low / (high / low) ** before, high * (high / low) ** after)
    elif low == high:
        axes.set_xlim(0.5 * low, 1.5 * high)
    else:
        axes.set_xlim(low - before * (high - low), high + after * (high - low))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(plot.batches.ticks, [f"{tick:,}" for tick in plot.batches.ticks])


def _stack(axes: Axes, plot: BatchPlot, curve: Curve, theme: Theme) -> None:
    sizes = [float(size) for size in curve.batch_sizes]
    layers = [
        [float("nan") if value is None else float(value) for value in layer.values_bytes] for layer in curve.layers
    ]
    if len(sizes) == 1:  # one point has no area: draw a bar around it
        sizes, layers = [sizes[0] * 0.9, sizes[0] * 1.1], [[*values, *values] for values in layers]
    lower = [0.0] * len(sizes)
    for layer, values in zip(curve.layers, layers, strict=True):
        upper = [below + value for below, value in zip(lower, values, strict=True)]
        color = theme.part(layer.part)
        edge = 0.5 if max(values) > _THIN * plot.axis.top_bytes else 0.0
        axes.fill_between(sizes, lower, upper, facecolor=color, edgecolor=theme.background, linewidth=edge)
        lower = upper


def _limit_lines(axes: Axes, limit: Limit, theme: Theme, *, over_data: bool) -> None:
    lines = ((limit.total_bytes, "-", "GPU memory"), (limit.bytes_80_percent, (0, (4, 2)), "80 %"))
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


def _lines(axes: Axes, plot: BatchPlot, curve: Curve, theme: Theme) -> None:
    for other in plot.curves:
        if other is not curve and other.finished():
            axes.plot(*zip(*other.finished(), strict=True), **_other_style(theme))
    reserved = [pair for pair in zip(curve.batch_sizes, curve.reserved_bytes, strict=True) if pair[1] is not None]
    if reserved:
        axes.plot(*zip(*reserved, strict=True), **_reserved_style(theme))
    points = curve.finished()
    if points:
        style = _peak_style(theme) if len(points) <= _MOST_LARGE else {**_peak_style(theme), "markersize": 3.5}
        axes.plot(*zip(*points, strict=True), **{**style, "marker": ""})
        axes.plot(*zip(*points, strict=True), **{**style, "linestyle": "none", "zorder": 5})
    labelled = points if len(points) <= _MOST_LABELLED else [points[0], points[-1]]
    for size, peak_bytes in labelled:
        axes.annotate(
            f"{peak_bytes / plot.axis.unit_bytes:,.2f}",
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


def _other_style(theme: Theme) -> dict[str, Any]:
    """Above the panel's own line and below its markers, with a border, so that curves that coincide are all visible."""
    border = [withStroke(linewidth=2.2, foreground=theme.background)]
    return {"color": theme.muted, "linewidth": 0.9, "linestyle": (0, (5, 4)), "zorder": 4.5, "path_effects": border}


def _reserved_style(theme: Theme) -> dict[str, Any]:
    return {"color": theme.ink, "linewidth": 1.1, "linestyle": (0, (1, 1.6)), "zorder": 3}


def _ends(data: Axes, limit_axes: Axes, plot: BatchPlot, curve: Curve, theme: Theme) -> None:
    """Mark runs that did not finish: out of memory on the line of the limit, any other status at the bottom."""
    for size, end in curve.unfinished():
        oom = end is Status.OOM
        high = plot.limit.total_bytes if oom and plot.limit else 0
        axes = limit_axes if oom and plot.limit else data
        axes.plot([size], [high], **_end_style(theme, oom=oom))
    first = next((size for size, end in curve.unfinished() if end is Status.OOM), None)
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
    total_bytes = curve.estimates_bytes[curve.batch_sizes.index(size)]
    return f" (estimate: {format_bytes(total_bytes)})" if total_bytes is not None else ""


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


def _legend(plot: BatchPlot, theme: Theme) -> dict[str, Artist]:
    curves = plot.curves
    entries: dict[str, Artist] = {}
    if any(curve.finished() for curve in curves):
        entries[f"peak allocated ({plot.heading.source.value})"] = _line(_peak_style(theme))
        entries[f"peak reserved ({plot.heading.source.value})"] = _line(_reserved_style(theme))
    if len(curves) > 1 and any(curve.finished() for curve in curves):
        entries["other optimizers' peaks"] = _line(_other_style(theme))
    ends = {end for curve in curves for _, end in curve.unfinished()}
    if Status.OOM in ends:
        entries["out of memory"] = _line(_end_style(theme, oom=True))
    failed = sorted(end.value for end in ends - {Status.OOM})
    if failed:
        entries[" or ".join(failed)] = _line(_end_style(theme, oom=False))
    return {**entries, **part_handles({layer.part for curve in curves for layer in curve.layers}, theme)}


def _line(style: dict[str, Any]) -> Line2D:
    return Line2D([], [], **style)
