"""Plots drawn with characters in a terminal: the only module that imports plotext.

Each part of memory has its own character as well as its color, so that a plot can be read without colors.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import assert_never

import plotext

from memprof.records import Status
from memprof.report.labels import part_name
from memprof.report.plots.colors import STACK_ORDER, THEMES, Theme, ThemeName, in_stack_order
from memprof.report.plots.elements import (
    Bar,
    BatchPlot,
    CategoriesPlot,
    Curve,
    Heading,
    Layer,
    Limit,
    Plot,
    TimelinePlot,
)
from memprof.units import UNKNOWN, format_bytes

_LEAST_WIDTH = 64
_PANEL_ROWS, _TIMELINE_ROWS = 14, 20
_LETTERS = dict(zip(STACK_ORDER, "█%▓▒=░o+~?.-xO", strict=True))
_PEAK, _OOM, _FAILED = "●", "X", "v"
_MOST_LABELLED = 6
_MOST_LETTERS = 24  # of a variant's name


def draw_in_terminal(plot: Plot, theme: ThemeName, width: int) -> str:
    """Return the plot as lines of at most `width` cells (64 if `width` is smaller), with ANSI color codes."""
    width = max(width, _LEAST_WIDTH)
    colors = THEMES[theme]
    if isinstance(plot, BatchPlot):
        lines = _batch(plot, colors, width)
    elif isinstance(plot, CategoriesPlot):
        lines = _categories(plot, colors, width)
    elif isinstance(plot, TimelinePlot):
        lines = _timeline(plot, colors, width)
    else:
        assert_never(plot)
    return "\n".join([*_heading(plot.heading, width), "", *lines, *textwrap.wrap(plot.heading.note, width)])


def _heading(heading: Heading, width: int) -> list[str]:
    return [*textwrap.wrap(heading.title, width), *textwrap.wrap(heading.circumstances, width)]


def _batch(plot: BatchPlot, theme: Theme, width: int) -> list[str]:
    lines: list[str] = []
    for curve in plot.curves:
        lines += [
            f"{_short(curve.name)}: memory in {plot.axis.unit} against batch size",
            *_curve(plot, curve, theme, width),
        ]
    parts = {layer.part for curve in plot.curves for layer in curve.layers}
    ends = {end for curve in plot.curves for _, end in curve.unfinished()}
    marks = [f"{_PEAK} peak allocated"] if any(curve.finished() for curve in plot.curves) else []
    marks += [f"{_OOM} out of memory"] if Status.OOM in ends else []
    marks += [f"{_FAILED} failed"] if ends - {Status.OOM} else []
    if plot.limit:
        marks.append(_limit_text(plot.limit, plot.limit_apart))
    return [*lines, *_legend(marks, parts, theme, width)]


def _curve(plot: BatchPlot, curve: Curve, theme: Theme, width: int) -> list[str]:
    places = [_place(plot, size) for size in curve.batch_sizes]
    unit, top = plot.axis.unit_bytes, plot.axis.top_bytes / plot.axis.unit_bytes
    _begin(width, _PANEL_ROWS)
    _fill(places, curve.layers, unit, theme)
    if plot.limit and not plot.limit_apart:
        for limit_bytes in (plot.limit.bytes_80_percent, plot.limit.total_bytes):
            plotext.hline(limit_bytes / unit, _rgb(theme.alarm))
    _peaks([(_place(plot, size), peak / unit) for size, peak in curve.finished()], top, theme)
    high = plot.limit.total_bytes / unit if plot.limit and not plot.limit_apart else top
    for size, end in curve.unfinished():
        mark, y = (_OOM, high) if end is Status.OOM else (_FAILED, 0)
        plotext.scatter([_place(plot, size)], [y], marker=mark, color=_rgb(theme.alarm))
    sizes = [size for each in plot.curves for size in each.batch_sizes]
    low, last = _place(plot, min(sizes)), _place(plot, max(sizes))
    margin = 0.04 * (last - low) or 0.5
    plotext.xlim(low - margin, last + margin)
    ticks = plot.batches.ticks
    plotext.xticks([_place(plot, tick) for tick in ticks], [f"{tick:,}" for tick in ticks])
    return _end(plot, top)


def _limit_text(limit: Limit, apart: bool) -> str:
    total, most = format_bytes(limit.total_bytes), format_bytes(limit.bytes_80_percent)
    return f"GPU memory: {total}, 80 %: {most} ({'far above, not drawn' if apart else 'horizontal lines'})"


def _peaks(points: Sequence[tuple[float, float]], top: float, theme: Theme) -> None:
    """The line of the peaks; a figure above each point, or only above the first and the last of many."""
    if not points:
        return
    plotext.plot(*_columns(points), marker="braille", color=_rgb(theme.ink))
    plotext.scatter(*_columns(points), marker=_PEAK, color=_rgb(theme.ink))
    for x, y in points if len(points) <= _MOST_LABELLED else (points[0], points[-1]):
        # The first label starts at its point, because one that is centered could cross the axis.
        alignment = "left" if x == points[0][0] else "center"
        plotext.text(f"{y:,.2f}", x, y + 1.3 * top / _PANEL_ROWS, alignment=alignment)


def _place(plot: BatchPlot, size: int) -> float:
    return math.log2(size) if plot.batches.logarithmic else float(size)


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _fill(places: Sequence[float], layers: Sequence[Layer], unit: int, theme: Theme) -> None:
    """Fill the stack from the top down, so that each layer covers the lower part of the one above it."""
    known = [place for place in range(len(places)) if all(layer.values_bytes[place] is not None for layer in layers)]
    for count in range(len(layers), 0, -1):
        layer = layers[count - 1]
        heights = [sum(each.values_bytes[place] or 0 for each in layers[:count]) / unit for place in known]
        if known:
            xs = [places[place] for place in known]
            plotext.plot(xs, heights, marker=_letter(layer.part), color=_rgb(theme.part(layer.part)), fillx=True)


def _timeline(plot: TimelinePlot, theme: Theme, width: int) -> list[str]:
    unit, top = plot.axis.unit_bytes, plot.axis.top_bytes / plot.axis.unit_bytes
    picked = _highest_of_each(plot, width)
    layers = [
        Layer(part=layer.part, values_bytes=tuple(layer.values_bytes[place] for place in picked))
        for layer in plot.layers
    ]
    _begin(width, _TIMELINE_ROWS)
    _fill([float(plot.positions[place]) for place in picked], layers, unit, theme)
    plotext.hline(plot.reserved_bytes / unit, _rgb(theme.muted))
    plotext.scatter([plot.peak_position], [plot.peak_bytes / unit], marker=_PEAK, color=_rgb(theme.alarm))
    first, last = plot.positions[0], max(plot.positions[-1], plot.positions[0] + 1)
    plotext.xlim(first, last)
    spans = [span for span in plot.spans if span.name and span.end - span.start > 0.02 * (last - first)]
    middles = [(span.start + span.end) / 2 for span in spans]
    plotext.xticks(middles, [span.name for span in spans])
    drawn = _end(plot, top)
    peak = f"{_PEAK} peak {format_bytes(plot.peak_bytes)}"
    marks = [
        f"{peak}, {plot.peak_place}" if plot.peak_place else peak,
        f"─ reserved peak {format_bytes(plot.reserved_bytes)}",
    ]
    legend = _legend(marks, {layer.part for layer in plot.layers}, theme, width)
    return [f"allocated, in {plot.axis.unit}", *drawn, *legend]


def _highest_of_each(plot: TimelinePlot, width: int) -> list[int]:
    """The index of the highest point within each cell of the width."""
    totals = [
        sum(value or 0 for value in values) for values in zip(*(y.values_bytes for y in plot.layers), strict=True)
    ]
    first, last = plot.positions[0], plot.positions[-1]
    highest: dict[int, int] = {}
    for place, position in enumerate(plot.positions):
        cell = (position - first) * (width - 10) // max(last - first, 1)
        if cell not in highest or totals[place] > totals[highest[cell]]:
            highest[cell] = place
    return list(highest.values())


def _categories(plot: CategoriesPlot, theme: Theme, width: int) -> list[str]:
    unit, top = plot.axis.unit_bytes, plot.axis.top_bytes / plot.axis.unit_bytes
    rows: list[Bar | str] = []
    for bar in plot.bars:
        if bar.group and bar.group not in rows:
            rows.append(bar.group)
        rows.append(bar)
    labels = iter(_distinct([row.name for row in rows if isinstance(row, Bar)]))
    names = [f"  {next(labels)}" if isinstance(row, Bar) else "" for row in rows]
    widest, room = max(len(name) for name in names) + 1, max(len(_figures(bar)) for bar in plot.bars) + 1
    right = top * (width - widest) / (width - widest - room)
    _begin(width, len(rows) + 2)
    for number, row in enumerate(rows):
        if isinstance(row, Bar):
            _bar(row, -number, unit, theme)
            plotext.text(_figures(row).rjust(room), right, -number, alignment="right")
    plotext.xlim(0, right)
    plotext.ylim(-len(rows) + 0.5, 0.5)
    plotext.yticks([-number for number in range(len(rows))], [name.ljust(widest) for name in names])
    ticks = plot.axis.tick_bytes
    plotext.xticks([tick / unit for tick in ticks], [plot.axis.number(tick) for tick in ticks])
    plotext.frame(False)
    drawn = _lines()
    for number, row in enumerate(rows):
        if isinstance(row, str):  # the name of a group takes the whole line
            drawn[number] = textwrap.shorten(row, width, placeholder=" …")
    marks = [f"◆ {plot.mark_name}"] if plot.mark_name else []
    parts = {part for bar in plot.bars for part, size in (bar.parts or {}).items() if size}
    return [f"in {plot.axis.unit}", *drawn, *_legend(marks, parts, theme, width)]


def _distinct(names: Sequence[str]) -> list[str]:
    """The names of bars, shortened; those that would look the same keep their end instead of their beginning."""
    short = [_short(name) for name in names]
    alike = {label: {name for name, other in zip(names, short, strict=True) if other == label} for label in short}
    ends = [f"…{name[1 - _MOST_LETTERS :]}" for name in names]
    return [end if len(alike[label]) > 1 else label for label, end in zip(short, ends, strict=True)]


def _short(name: str) -> str:
    return name if len(name) <= _MOST_LETTERS else f"{name[: _MOST_LETTERS - 1]}…"


def _bar(bar: Bar, y: int, unit: int, theme: Theme) -> None:
    ends: list[tuple[str, float]] = []
    left = 0
    for part in in_stack_order(bar.parts or ()):
        left += (bar.parts or {})[part]
        ends.append((part, left / unit))
    for part, end in reversed(ends):
        plotext.plot([0, end], [y, y], marker=_letter(part), color=_rgb(theme.part(part)))
    if bar.peak_bytes is not None:
        plotext.scatter([bar.peak_bytes / unit], [y], marker="◆", color=_rgb(theme.ink))


def _figures(bar: Bar) -> str:
    total = format_bytes(bar.total_bytes) if bar.total_bytes is not None else UNKNOWN
    if bar.end is Status.OOM:
        return f"{total}, out of memory"
    if bar.end is not Status.OK:
        return f"{total}, {bar.end.value}"
    return total if bar.peak_bytes is None else f"{total} ◆ {format_bytes(bar.peak_bytes)}"


def _begin(width: int, rows: int) -> None:
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.limit_size(False, False)
    plotext.plot_size(width, rows)


def _end(plot: BatchPlot | TimelinePlot, top: float) -> list[str]:
    plotext.ylim(0, top)
    ticks = plot.axis.tick_bytes
    plotext.yticks([tick / plot.axis.unit_bytes for tick in ticks], [plot.axis.number(tick) for tick in ticks])
    return _lines()


def _lines() -> list[str]:
    lines = str(plotext.build()).splitlines()
    plotext.clear_figure()  # plotext keeps one figure for the whole process
    return lines


def _legend(marks: Sequence[str], parts: Iterable[str], theme: Theme, width: int) -> list[str]:
    """The marks and the characters of the parts, in lines; a name is never split."""
    entries = [(mark, mark) for mark in marks]
    for part in in_stack_order(parts):
        name = part_name(part)
        colored = str(plotext.colorize(_letter(part), _rgb(theme.part(part))))
        entries.append((f"{_letter(part)} {name}", f"{colored} {name}"))
    lines: list[str] = []
    used = width
    for plain, shown in entries:
        if used + 2 + len(plain) > width:
            lines.append(shown)
            used = len(plain)
        else:
            lines[-1] += f"  {shown}"
            used += 2 + len(plain)
    return lines


def _letter(part: str) -> str:
    return _LETTERS.get(part, _LETTERS["unknown"])


def _rgb(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
