"""Allocated memory through the step of the peak, stacked by category, with its phases and its peak."""

from __future__ import annotations

from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from memprof.report.plots.colors import Theme
from memprof.report.plots.figures import Span, TimelinePicture
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
_WORDS = 0.36  # of the two lines that say what the peak is


def draw_timeline(picture: TimelinePicture, theme: Theme) -> Figure:
    """Return the figure."""
    rows = _name_rows(picture)
    above = _NAME_ROW * (max(rows.values(), default=0) + 1) + 0.08
    width = _LEFT + _WIDE + MARGIN
    made = frame(picture.heading, theme, width, _BELOW + _HIGH + above, _legend(picture, theme))
    axes = made.axes(_LEFT, made.bottom + _BELOW, _WIDE, _HIGH)
    axes.set_axisbelow(False)  # the grid over the areas, which fill most of the axes
    scale_bytes(axes, picture.axis, along="y")
    axes.set_ylabel(f"allocated ({picture.axis.unit})")
    axes.set_xlim(picture.positions[0], _end(picture))
    axes.set_xlabel("allocations and frees since the step began")
    _stack(axes, picture, theme)
    _phases(axes, picture, rows, theme)
    _reserved(axes, picture, theme)
    _peak(axes, picture, theme)
    return made.figure


def _stack(axes: Axes, picture: TimelinePicture, theme: Theme) -> None:
    """The layers, each value lasting until the next position, with a line along the top of all."""
    positions = [*picture.positions, _end(picture)]
    layers = [[*(value or 0 for value in layer.values_bytes), layer.values_bytes[-1] or 0] for layer in picture.layers]
    colours = [theme.part(layer.part) for layer in picture.layers]
    axes.stackplot(positions, layers, colors=colours, step="post", linewidth=0)
    totals = [sum(values) for values in zip(*layers, strict=True)]
    axes.step(positions, totals, where="post", color=theme.muted, linewidth=0.6)


def _end(picture: TimelinePicture) -> int:
    return max([picture.positions[-1], *(span.end for span in picture.spans), picture.positions[0] + 1])


def _name_rows(picture: TimelinePicture) -> dict[Span, int]:
    """The row above the axes in which each phase's name stands: the lowest where it does not meet another."""
    rows: dict[Span, int] = {}
    ends: list[float] = []
    inch = _WIDE / max(1, _end(picture) - picture.positions[0])
    for span in picture.spans:
        if not span.name:
            continue
        wide = text_width(span.name) + 0.12
        middle = ((span.start + span.end) / 2 - picture.positions[0]) * inch
        left = _kept_within(middle, wide) - wide / 2
        row = next((number for number, end in enumerate(ends) if end <= left), len(ends))
        ends[row : row + 1] = [left + wide]
        rows[span] = row
    return rows


def _kept_within(middle: float, wide: float) -> float:
    return min(max(middle, wide / 2), _WIDE - wide / 2)


def _phases(axes: Axes, picture: TimelinePicture, rows: dict[Span, int], theme: Theme) -> None:
    first, inch = picture.positions[0], _WIDE / max(1, _end(picture) - picture.positions[0])
    for number, span in enumerate(picture.spans):
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


def _reserved(axes: Axes, picture: TimelinePicture, theme: Theme) -> None:
    right = not _on_the_right(picture)
    axes.axhline(picture.reserved_bytes, color=theme.ink, linewidth=1.1, linestyle=(0, (1, 1.6)), zorder=3)
    axes.annotate(
        f"reserved peak {format_bytes(picture.reserved_bytes)}",
        (1 if right else 0, picture.reserved_bytes),
        xycoords=("axes fraction", "data"),
        xytext=(-4 if right else 4, 3),
        textcoords="offset points",
        ha="right" if right else "left",
        size=SMALL,
        path_effects=halo(theme),
        zorder=6,
    )


def _on_the_right(picture: TimelinePicture) -> bool:
    """Whether the peak is in the right half, so that its words go to the left and other words out of their way."""
    return 2 * picture.peak_position > picture.positions[0] + _end(picture)


def _peak(axes: Axes, picture: TimelinePicture, theme: Theme) -> None:
    place = (picture.peak_position, picture.peak_bytes)
    room = (picture.reserved_bytes - picture.peak_bytes) / picture.axis.top_bytes * _HIGH
    # Where there is no room for the words below the line of the reserved peak, they stand above it.
    high_bytes = picture.peak_bytes if room > _WORDS else picture.reserved_bytes
    if room <= _WORDS:
        axes.plot([place[0]] * 2, [place[1], high_bytes], color=theme.alarm, linewidth=1.0, zorder=3)
    axes.plot(*([value] for value in place), **_peak_style(theme))
    right = _on_the_right(picture)
    said = (
        (f"peak {format_bytes(picture.peak_bytes)}", 13, TEXT, "bold"),
        (_short(picture.peak_place), 4, SMALL, "normal"),
    )
    for text, above, size, weight in said:
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
    """A place that fits beside the reserved peak's words: of a long path the end says more than what it is in."""
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


def _legend(picture: TimelinePicture, theme: Theme) -> dict[str, Artist]:
    peak = Line2D([], [], **_peak_style(theme))
    return {"peak": peak, **part_handles((layer.part for layer in picture.layers), theme)}
