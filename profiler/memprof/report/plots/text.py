"""Pictures drawn in a terminal's letters: the only door to plotext.

Each part of memory has a letter of its own beside its colour, so that a picture says the same without colours.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import assert_never

import plotext

from memprof.records import Status
from memprof.report.plots.colors import STACK_ORDER, THEMES, Theme, ThemeName, in_stack_order
from memprof.report.plots.figures import (
    Bar,
    BatchPicture,
    CategoriesPicture,
    Curve,
    Heading,
    Layer,
    Picture,
    TimelinePicture,
)
from memprof.units import UNKNOWN, format_bytes

_LEAST_WIDTH = 64
_PANEL_ROWS, _TIMELINE_ROWS = 14, 20
_LETTERS = dict(zip(STACK_ORDER, "█%▓▒=░o+~?.-xO", strict=True))
_PEAK, _OOM, _FAILED = "●", "X", "v"
_MOST_LABELLED = 6
_MOST_LETTERS = 24  # of a variant's name


def draw_in_terminal(picture: Picture, theme: ThemeName, width: int) -> str:
    """Return the picture as lines of at most `width` cells (but no fewer than 64), with the codes of its colours."""
    width = max(width, _LEAST_WIDTH)
    colours = THEMES[theme]
    if isinstance(picture, BatchPicture):
        lines = _batch(picture, colours, width)
    elif isinstance(picture, CategoriesPicture):
        lines = _categories(picture, colours, width)
    elif isinstance(picture, TimelinePicture):
        lines = _timeline(picture, colours, width)
    else:
        assert_never(picture)
    return "\n".join([*_heading(picture.heading, width), "", *lines, *textwrap.wrap(picture.heading.note, width)])


def _heading(heading: Heading, width: int) -> list[str]:
    return [*textwrap.wrap(heading.title, width), *textwrap.wrap(heading.circumstances, width)]


def _batch(picture: BatchPicture, theme: Theme, width: int) -> list[str]:
    lines: list[str] = []
    for curve in picture.curves:
        lines += [
            f"{_short(curve.name)}: memory in {picture.axis.unit} against batch size",
            *_curve(picture, curve, theme, width),
        ]
    parts = {layer.part for curve in picture.curves for layer in curve.layers}
    ended = {end for curve in picture.curves for _, end in curve.ended()}
    marks = [f"{_PEAK} peak allocated"] if any(curve.ran() for curve in picture.curves) else []
    marks += [f"{_OOM} out of memory"] if Status.OOM in ended else []
    marks += [f"{_FAILED} failed"] if ended - {Status.OOM} else []
    if picture.limit:
        total, safe = format_bytes(picture.limit.total_bytes), format_bytes(picture.limit.safe_bytes)
        where = "far above" if picture.limit_apart else "the lines"
        marks.append(f"limit: {total}, 0.8 of it {safe} ({where})")
    return [*lines, *_legend(marks, parts, theme, width)]


def _curve(picture: BatchPicture, curve: Curve, theme: Theme, width: int) -> list[str]:
    places = [_place(picture, size) for size in curve.batch_sizes]
    unit, top = picture.axis.unit_bytes, picture.axis.top_bytes / picture.axis.unit_bytes
    _begin(width, _PANEL_ROWS)
    _fill(places, curve.layers, unit, theme)
    if picture.limit and not picture.limit_apart:
        for limit_bytes in (picture.limit.safe_bytes, picture.limit.total_bytes):
            plotext.hline(limit_bytes / unit, _rgb(theme.alarm))
    ran = [(_place(picture, size), peak / unit) for size, peak in curve.ran()]
    if ran:
        plotext.plot(*_columns(ran), marker="braille", color=_rgb(theme.ink))
        plotext.scatter(*_columns(ran), marker=_PEAK, color=_rgb(theme.ink))
        for x, y in ran if len(ran) <= _MOST_LABELLED else (ran[0], ran[-1]):
            plotext.text(f"{y:,.2f}", x, y + 1.3 * top / _PANEL_ROWS, alignment="center")
    high = picture.limit.total_bytes / unit if picture.limit and not picture.limit_apart else top
    for size, end in curve.ended():
        mark, y = (_OOM, high) if end is Status.OOM else (_FAILED, 0)
        plotext.scatter([_place(picture, size)], [y], marker=mark, color=_rgb(theme.alarm))
    sizes = [size for each in picture.curves for size in each.batch_sizes]
    low, last = _place(picture, min(sizes)), _place(picture, max(sizes))
    beside = 0.04 * (last - low) or 0.5
    plotext.xlim(low - beside, last + beside)
    ticks = picture.batches.ticks
    plotext.xticks([_place(picture, tick) for tick in ticks], [str(tick) for tick in ticks])
    return _end(picture, top)


def _place(picture: BatchPicture, size: int) -> float:
    return math.log2(size) if picture.batches.logarithmic else float(size)


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _fill(places: Sequence[float], layers: Sequence[Layer], unit: int, theme: Theme) -> None:
    """Fill the stack from its top down, so that each layer covers what lies beneath the one above it."""
    known = [place for place in range(len(places)) if all(layer.values_bytes[place] is not None for layer in layers)]
    for count in range(len(layers), 0, -1):
        layer = layers[count - 1]
        heights = [sum(each.values_bytes[place] or 0 for each in layers[:count]) / unit for place in known]
        if known:
            xs = [places[place] for place in known]
            plotext.plot(xs, heights, marker=_letter(layer.part), color=_rgb(theme.part(layer.part)), fillx=True)


def _timeline(picture: TimelinePicture, theme: Theme, width: int) -> list[str]:
    unit, top = picture.axis.unit_bytes, picture.axis.top_bytes / picture.axis.unit_bytes
    picked = _highest_of_each(picture, width)
    layers = [
        Layer(part=layer.part, values_bytes=tuple(layer.values_bytes[place] for place in picked))
        for layer in picture.layers
    ]
    _begin(width, _TIMELINE_ROWS)
    _fill([float(picture.positions[place]) for place in picked], layers, unit, theme)
    plotext.hline(picture.reserved_bytes / unit, _rgb(theme.muted))
    plotext.scatter([picture.peak_position], [picture.peak_bytes / unit], marker=_PEAK, color=_rgb(theme.alarm))
    first, last = picture.positions[0], max(picture.positions[-1], picture.positions[0] + 1)
    plotext.xlim(first, last)
    spans = [span for span in picture.spans if span.name and span.end - span.start > 0.02 * (last - first)]
    middles = [(span.start + span.end) / 2 for span in spans]
    plotext.xticks(middles, [span.name for span in spans])
    drawn = _end(picture, top)
    peak = f"{_PEAK} peak {format_bytes(picture.peak_bytes)}"
    marks = [
        f"{peak}, {picture.peak_place}" if picture.peak_place else peak,
        f"─ reserved peak {format_bytes(picture.reserved_bytes)}",
    ]
    legend = _legend(marks, {layer.part for layer in picture.layers}, theme, width)
    return [f"allocated, in {picture.axis.unit}", *drawn, *legend]


def _highest_of_each(picture: TimelinePicture, width: int) -> list[int]:
    """The place of the highest point within each of so many stretches as there are cells."""
    totals = [
        sum(value or 0 for value in values) for values in zip(*(y.values_bytes for y in picture.layers), strict=True)
    ]
    first, last = picture.positions[0], picture.positions[-1]
    stretch: dict[int, int] = {}
    for place, position in enumerate(picture.positions):
        cell = (position - first) * (width - 10) // max(last - first, 1)
        if cell not in stretch or totals[place] > totals[stretch[cell]]:
            stretch[cell] = place
    return list(stretch.values())


def _categories(picture: CategoriesPicture, theme: Theme, width: int) -> list[str]:
    unit, top = picture.axis.unit_bytes, picture.axis.top_bytes / picture.axis.unit_bytes
    rows: list[Bar | str] = []
    for bar in picture.bars:
        if bar.group and bar.group not in rows:
            rows.append(bar.group)
        rows.append(bar)
    names = [f"  {_short(row.name)}" if isinstance(row, Bar) else "" for row in rows]
    widest, room = max(len(name) for name in names) + 1, max(len(_figures(bar)) for bar in picture.bars) + 1
    right = top * (width - widest) / (width - widest - room)
    _begin(width, len(rows) + 2)
    for number, row in enumerate(rows):
        if isinstance(row, Bar):
            _bar(row, -number, unit, theme)
            plotext.text(_figures(row).rjust(room), right, -number, alignment="right")
    plotext.xlim(0, right)
    plotext.ylim(-len(rows) + 0.5, 0.5)
    plotext.yticks([-number for number in range(len(rows))], [name.ljust(widest) for name in names])
    ticks = picture.axis.tick_bytes
    plotext.xticks([tick / unit for tick in ticks], [picture.axis.number(tick) for tick in ticks])
    plotext.frame(False)
    drawn = _lines()
    for number, row in enumerate(rows):
        if isinstance(row, str):  # a group's name has the whole line
            drawn[number] = textwrap.shorten(row, width, placeholder=" …")
    marks = [f"◆ {picture.peak_name}"] if picture.peak_name else []
    parts = {part for bar in picture.bars for part, size in (bar.parts or {}).items() if size}
    return [f"in {picture.axis.unit}", *drawn, *_legend(marks, parts, theme, width)]


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


def _end(picture: BatchPicture | TimelinePicture, top: float) -> list[str]:
    plotext.ylim(0, top)
    ticks = picture.axis.tick_bytes
    plotext.yticks([tick / picture.axis.unit_bytes for tick in ticks], [picture.axis.number(tick) for tick in ticks])
    return _lines()


def _lines() -> list[str]:
    lines = str(plotext.build()).splitlines()
    plotext.clear_figure()  # plotext keeps one figure for the whole process
    return lines


def _legend(marks: Sequence[str], parts: Iterable[str], theme: Theme, width: int) -> list[str]:
    """The marks and the parts' letters in lines; a name is never cut in two."""
    entries = [(mark, mark) for mark in marks]
    for part in in_stack_order(parts):
        name = part.replace("_", " ")
        coloured = str(plotext.colorize(_letter(part), _rgb(theme.part(part))))
        entries.append((f"{_letter(part)} {name}", f"{coloured} {name}"))
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


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
