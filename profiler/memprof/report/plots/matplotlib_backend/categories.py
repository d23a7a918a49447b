"""Stacked bars by category: one for each variant, with a marker at its peak and its figures in columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from memprof.records import Status
from memprof.report.plots.colors import Theme, in_stack_order, text_on
from memprof.report.plots.elements import Bar, CategoriesPlot, Limit
from memprof.report.plots.matplotlib_backend.frame import (
    MARGIN,
    SMALL,
    Frame,
    frame,
    halo,
    part_handles,
    scale_bytes,
    text_width,
)
from memprof.units import UNKNOWN, format_bytes

_WIDE = 5.6  # inches: of the bars
_ROW, _GROUP, _TABLE, _BELOW = 0.34, 0.3, 0.3, 0.45  # of a bar, a group's name, the columns' headings, the ticks
_COLUMN = 1.15  # of figures
_GAP = 0.12  # between a name and its bar
_MOST_LETTERS = 40
_THIN = 0.006  # of the axis: a line between parts would hide a thinner part
_ROOM_FOR_TEXT = 0.085  # of the axis: the least width of a part with a figure in it


def draw_categories(plot: CategoriesPlot, theme: Theme) -> Figure:
    """Return the figure."""
    left = MARGIN + 2 * _GAP + max(text_width(_short(bar.name)) for bar in plot.bars)
    places, high = _places(plot.bars)
    columns = 2 if plot.peak_name else 1
    width = left + _WIDE + columns * _COLUMN + MARGIN
    made = frame(plot.heading, theme, width, high + _TABLE + _BELOW, _legend(plot, theme))
    axes = made.axes(left, made.bottom + _BELOW, _WIDE, high)
    scale_bytes(axes, plot.axis, along="x")
    axes.set_ylim(high, 0)
    axes.set_yticks([])
    axes.set_xlabel(f"memory ({plot.axis.unit})")
    if plot.limit:
        _limit_lines(axes, plot.limit, theme)
    for bar, place in zip(plot.bars, places, strict=True):
        _stack(axes, plot, bar, place, theme)
        if bar.peak_bytes is not None:
            _mark(axes, bar.total_bytes or 0, bar.peak_bytes, place, theme)
    _names(made, plot, places, (made.bottom + _BELOW + high, left), theme)
    _figures(made, plot, places, (made.bottom + _BELOW + high, left + _WIDE), theme)
    return made.figure


def _short(name: str, times: int = 1) -> str:
    most = _MOST_LETTERS * times
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _places(bars: Sequence[Bar]) -> tuple[list[float], float]:
    """The middle of each bar in inches from the top, with the name of a group above its first; and the total height."""
    places: list[float] = []
    below = 0.08
    for number, bar in enumerate(bars):
        if bar.group and (number == 0 or bar.group != bars[number - 1].group):
            below += _GROUP + (0.06 if number else 0)
        places.append(below + _ROW / 2)
        below += _ROW
    return places, below + 0.08


def _stack(axes: Axes, plot: CategoriesPlot, bar: Bar, place: float, theme: Theme) -> None:
    left, top = 0, plot.axis.top_bytes
    for part in in_stack_order(bar.parts or ()):
        size = (bar.parts or {})[part]
        color = theme.part(part)
        edge = 0.6 if size > _THIN * top else 0.0
        axes.barh(place, size, _ROW * 0.74, left, color=color, edgecolor=theme.background, linewidth=edge)
        seen = min(size, top - left)
        if seen >= _ROOM_FOR_TEXT * top:
            text = f"{size / plot.axis.unit_bytes:,.2f}" + (" ▸" if seen < size else "")
            axes.text(left + seen / 2, place, text, ha="center", va="center_baseline", size=SMALL, color=text_on(color))
        left += size


def _mark(axes: Axes, total_bytes: int, peak_bytes: int, place: float, theme: Theme) -> None:
    if peak_bytes > total_bytes:
        axes.plot([total_bytes, peak_bytes], [place, place], color=theme.ink, linewidth=1.0, zorder=3)
    axes.plot([peak_bytes], [place], **_mark_style(theme))


def _mark_style(theme: Theme) -> dict[str, Any]:
    return {
        "marker": "D",
        "markersize": 6,
        "markerfacecolor": theme.ink,
        "markeredgecolor": theme.background,
        "linestyle": "none",
        "zorder": 4,
    }


def _limit_lines(axes: Axes, limit: Limit, theme: Theme) -> None:
    for value, style in ((limit.total_bytes, "-"), (limit.bytes_80_percent, (0, (4, 2)))):
        axes.axvline(value, color=theme.alarm, linewidth=1.2, linestyle=style, zorder=2)


def _names(
    made: Frame, plot: CategoriesPlot, places: Sequence[float], corner: tuple[float, float], theme: Theme
) -> None:
    top, left = corner
    group = ""
    for bar, place in zip(plot.bars, places, strict=True):
        if bar.group != group:
            high = top - place + _ROW / 2 + _GROUP / 2
            made.text(MARGIN, high, _short(bar.group, 2), weight="bold", va="center", path_effects=halo(theme))
            group = bar.group
        made.text(left - _GAP, top - place, _short(bar.name), ha="right", va="center", color=theme.ink)


def _figures(
    made: Frame, plot: CategoriesPlot, places: Sequence[float], corner: tuple[float, float], theme: Theme
) -> None:
    """The sums, and the peaks or the status, in columns to the right of the bars."""
    top, left = corner
    headings = [plot.total_name, plot.peak_name] if plot.peak_name else [plot.total_name]
    for column, heading in enumerate(headings, start=1):
        made.text(left + column * _COLUMN, top + 0.1, heading, ha="right", color=theme.muted, size=SMALL)
    for bar, place in zip(plot.bars, places, strict=True):
        figures = [(format_bytes(bar.total_bytes), "normal", theme.ink), _peak_text(bar, theme)]
        for column, (text, weight, color) in enumerate(figures[: len(headings)], start=1):
            right, high = left + column * _COLUMN, top - place
            made.text(right, high, text, ha="right", va="center", weight=weight, color=color)


def _peak_text(bar: Bar, theme: Theme) -> tuple[str, str, str]:
    if bar.end is Status.OOM:
        return "out of memory", "bold", theme.alarm
    if bar.end is not Status.OK:
        return bar.end.value, "bold", theme.alarm
    return (format_bytes(bar.peak_bytes), "bold", theme.ink) if bar.peak_bytes else (UNKNOWN, "normal", theme.ink)


def _legend(plot: CategoriesPlot, theme: Theme) -> dict[str, Artist]:
    entries: dict[str, Artist] = {}
    if any(bar.peak_bytes is not None for bar in plot.bars):
        entries[plot.peak_name] = Line2D([], [], **_mark_style(theme))
    if plot.limit:
        total, most = format_bytes(plot.limit.total_bytes), format_bytes(plot.limit.bytes_80_percent)
        entries[f"GPU memory: {total}"] = Line2D([], [], color=theme.alarm, linewidth=1.2)
        entries[f"80 %: {most}"] = Line2D([], [], color=theme.alarm, linewidth=1.2, linestyle=(0, (4, 2)))
    parts = {part for bar in plot.bars for part, size in (bar.parts or {}).items() if size}
    return {**entries, **part_handles(parts, theme)}
