"""Allocated memory through the step of the peak, stacked by category, with its phases and its peak."""

from __future__ import annotations

from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import StrMethodFormatter

from memprof.report.plots.colors import Theme
from memprof.report.plots.elements import Span, TimelinePlot
from memprof.report.plots.matplotlib_backend.frame import (
    MARGIN,
    SMALL,
    TEXT,
    frame,
    halo,
    part_handles,
    scale_bytes,
    text_width,
)
from memprof.units import format_bytes

_WIDE, _HIGH = 9.0, 3.8  # inches
_LEFT, _BELOW, _NAME_ROW = 0.85, 0.45, 0.19
_MOST_LETTERS = 64
_WORDS = 0.36  # inches: the two lines of text about the peak


def draw_timeline(plot: TimelinePlot, theme: Theme) -> Figure:
    """Return the figure."""
    rows = _name_rows(plot)
    above = _NAME_ROW * (max(rows.values(), default=0) + 1) + 0.08
    width = _LEFT + _WIDE + MARGIN
    made = frame(plot.heading, theme, width, _BELOW + _HIGH + above, _legend(plot, theme))
    axes = made.axes(_LEFT, made.bottom + _BELOW, _WIDE, _HIGH)
    axes.set_axisbelow(False)  # the grid over the areas, which fill most of the axes
    scale_bytes(axes, plot.axis, along="y")
    axes.set_ylabel(f"allocated ({plot.axis.unit})")
    axes.set_xlim(plot.positions[0], _end(plot))
    axes.set_xlabel("allocator events since step start")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    _stack(axes, plot, theme)
    _phases(axes, plot, rows, theme)
    _reserved(axes, plot, theme)
    _peak(axes, plot, theme)
    return made.figure


def _stack(axes: Axes, plot: TimelinePlot, theme: Theme) -> None:
    """The layers, each value lasting until the next position, with a line along the top of all."""
    positions = [*plot.positions, _end(plot)]
    layers = [[*(value or 0 for value in layer.values_bytes), layer.values_bytes[-1] or 0] for layer in plot.layers]
    colors = [theme.part(layer.part) for layer in plot.layers]
    axes.stackplot(positions, layers, colors=colors, step="post", linewidth=0)
    totals = [sum(values) for values in zip(*layers, strict=True)]
    axes.step(positions, totals, where="post", color=theme.muted, linewidth=0.6)


def _end(plot: TimelinePlot) -> int:
    return max([plot.positions[-1], *(span.end for span in plot.spans), plot.positions[0] + 1])


def _name_rows(plot: TimelinePlot) -> dict[Span, int]:
    """The row above the axes for the name of each phase: the lowest one in which it does not overlap another."""
    rows: dict[Span, int] = {}
    ends: list[float] = []
    inch = _WIDE / max(1, _end(plot) - plot.positions[0])
    for span in plot.spans:
        if not span.name:
            continue
        wide = text_width(span.name) + 0.12
        middle = ((span.start + span.end) / 2 - plot.positions[0]) * inch
        left = _kept_within(middle, wide) - wide / 2
        row = next((number for number, end in enumerate(ends) if end <= left), len(ends))
        ends[row : row + 1] = [left + wide]
        rows[span] = row
    return rows


def _kept_within(middle: float, wide: float) -> float:
    return min(max(middle, wide / 2), _WIDE - wide / 2)


def _phases(axes: Axes, plot: TimelinePlot, rows: dict[Span, int], theme: Theme) -> None:
    first, inch = plot.positions[0], _WIDE / max(1, _end(plot) - plot.positions[0])
    for number, span in enumerate(plot.spans):
        if number % 2:
            axes.axvspan(span.start, span.end, color=theme.band, zorder=0, linewidth=0)
        if number:
            axes.axvline(span.start, color=theme.muted, linewidth=0.7, linestyle=(0, (2, 2)), zorder=2.5)
    for span, row in rows.items():
        middle = _kept_within(((span.start + span.end) / 2 - first) * inch, text_width(span.name) + 0.12)
        axes.text(
            middle / _WIDE,
            1 + (0.08 + _NAME_ROW * row) / _HIGH,
            span.name,
            transform=axes.transAxes,
            ha="center",
            weight="bold",
            color=theme.ink,
        )


def _reserved(axes: Axes, plot: TimelinePlot, theme: Theme) -> None:
    right = not _on_the_right(plot)
    axes.axhline(plot.reserved_bytes, color=theme.ink, linewidth=1.1, linestyle=(0, (1, 1.6)), zorder=3)
    axes.annotate(
        f"reserved peak {format_bytes(plot.reserved_bytes)}",
        (1 if right else 0, plot.reserved_bytes),
        xycoords=("axes fraction", "data"),
        xytext=(-4 if right else 4, 3),
        textcoords="offset points",
        ha="right" if right else "left",
        size=SMALL,
        path_effects=halo(theme),
        zorder=6,
    )


def _on_the_right(plot: TimelinePlot) -> bool:
    """Whether the peak is in the right half: its text is then on the left of it, and other text on the other side."""
    return 2 * plot.peak_position > plot.positions[0] + _end(plot)


def _peak(axes: Axes, plot: TimelinePlot, theme: Theme) -> None:
    place = (plot.peak_position, plot.peak_bytes)
    room = (plot.reserved_bytes - plot.peak_bytes) / plot.axis.top_bytes * _HIGH
    # If the text does not fit below the line of the reserved peak, it is above that line.
    high_bytes = plot.peak_bytes if room > _WORDS else plot.reserved_bytes
    if room <= _WORDS:
        axes.plot([place[0]] * 2, [place[1], high_bytes], color=theme.alarm, linewidth=1.0, zorder=3)
    axes.plot(*([value] for value in place), **_peak_style(theme))
    right = _on_the_right(plot)
    lines = (
        (f"peak {format_bytes(plot.peak_bytes)}", 13, TEXT, "bold"),
        (_short(plot.peak_place), 4, SMALL, "normal"),
    )
    for text, above, size, weight in lines:
        axes.annotate(
            text,
            (place[0], high_bytes),
            xytext=(-9 if right else 9, above),
            textcoords="offset points",
            ha="right" if right else "left",
            size=size,
            weight=weight,
            path_effects=halo(theme),
            zorder=6,
        )


def _short(place: str) -> str:
    """A place that fits next to the text of the reserved peak; the end of a long path says more than its start."""
    return place if len(place) <= _MOST_LETTERS else f"{place[:12]}…{place[13 - _MOST_LETTERS :]}"


def _peak_style(theme: Theme) -> dict[str, Any]:
    return {
        "marker": "o",
        "markersize": 7,
        "color": theme.alarm,
        "markeredgecolor": theme.background,
        "markeredgewidth": 1.2,
        "linestyle": "none",
        "clip_on": False,
        "zorder": 5,
    }


def _legend(plot: TimelinePlot, theme: Theme) -> dict[str, Artist]:
    peak = Line2D([], [], **_peak_style(theme))
    return {"peak": peak, **part_handles((layer.part for layer in plot.layers), theme)}
