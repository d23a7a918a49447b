"""Columns of figures under group headings, in sections, laid out to a width without ever cutting a figure.

Made by hand, because a section's name, a group's heading and a reason below a row each span columns.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from rich.cells import cell_len, set_cell_size
from rich.text import Text

GAPS = (3, 2, 1)  # blanks between columns: as airy as the width allows


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column: a cell for each row, right-aligned (or left) under `heading`, which is under `group`."""

    heading: str
    cells: tuple[str, ...]
    group: str = ""
    style: str = ""
    cell_styles: Mapping[str, str] = field(default_factory=dict)  # by the cell's text, before `style`
    left: bool = False

    @property
    def width(self) -> int:
        """The cells that the widest entry takes."""
        return max(cell_len(text) for text in (self.heading, *self.cells))

    def blanks(self, text: str, width: int) -> tuple[str, str]:
        """Return the blanks before and after `text` in `width` cells."""
        blanks = " " * (width - cell_len(text))
        return ("", blanks) if self.left else (blanks, "")


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The columns, the section of each row (consecutive rows of one name are under it), and notes below rows."""

    stub: Column  # the column that names the row; it is repeated if the others do not fit at once
    columns: tuple[Column, ...]
    sections: tuple[str, ...]
    notes: Mapping[int, str] = field(default_factory=dict)
    whole_notes: bool = False  # over as many lines as they take, not cut to one

    def width(self, gap: int) -> int:
        """The cells that the grid takes on one line, with `gap` blanks between its columns."""
        return sum(_widths((self.stub, *self.columns), gap)) + gap * len(self.columns)


def lay_out(grid: Grid, width: int) -> list[Text]:
    """Return the grid as lines no wider than `width`; columns that do not fit are in a grid below."""
    gap = next((gap for gap in GAPS if grid.width(gap) <= width), None)
    if gap is not None:
        return _lines(grid, gap, width)
    if len(grid.columns) == 1:
        return _lines(grid, GAPS[-1], width)
    half = math.ceil(len(grid.columns) / 2)
    first = Grid(stub=grid.stub, columns=grid.columns[:half], sections=grid.sections)
    second = replace(grid, columns=grid.columns[half:])
    return [*lay_out(first, width), Text(), *lay_out(second, width)]


def shorten(text: str, width: int) -> str:
    """Return `text` on one line, cut at a word with an ellipsis if it is longer than `width`."""
    return textwrap.shorten(text, max(width, 10), placeholder=" …")


def distinct(texts: Sequence[str], width: int) -> list[str]:
    """Return each text shortened to `width`; those that would look the same keep their end, or are not shortened."""
    short = [shorten(text, width) for text in texts]
    tails = [f"… {text[len(text) - max(width, 10) + 2 :].lstrip()}" for text in texts]
    found = []
    for place, text in enumerate(texts):
        same = [other for other, name in enumerate(short) if name == short[place] and texts[other] != text]
        ends = [tails[other] for other in same]
        found.append(short[place] if not same else tails[place] if tails[place] not in ends else text)
    return found


def cut(text: str, width: int) -> str:
    """Return `text`, its end an ellipsis if it is wider than `width` cells."""
    return text if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"


def note_width(grid: Grid, width: int) -> int:
    """The cells that a note below a row has at this width."""
    return width - len(_note_indent(grid))


def _lines(grid: Grid, gap: int, width: int) -> list[Text]:
    columns = (grid.stub, *grid.columns)
    widths = _widths(columns, gap)
    lines = _header(columns, widths, gap)
    for name, rows in groupby(range(len(grid.sections)), key=lambda row: grid.sections[row]):
        lines += [_line(name, style="bold")] if name else []
        for row in rows:
            lines.append(_row(columns, widths, gap, row))
            if row in grid.notes:
                lines += [_line(_note_indent(grid) + text, "dim") for text in _note(grid, row, width)]
    return lines


def _note(grid: Grid, row: int, width: int) -> list[str]:
    room = note_width(grid, width)
    return textwrap.wrap(grid.notes[row], room) if grid.whole_notes else [shorten(grid.notes[row], room)]


def _note_indent(grid: Grid) -> str:
    return " " * grid.stub.width + "  "


def _widths(columns: Sequence[Column], gap: int) -> list[int]:
    """The width of each column; a group's last one grows if the group's heading is wider."""
    widths: list[int] = []
    for group, members in groupby(columns, key=lambda column: column.group):
        spanned = [column.width for column in members]
        lacking = cell_len(group) - sum(spanned) - gap * (len(spanned) - 1)
        spanned[-1] += max(lacking, 0)
        widths += spanned
    return widths


def _header(columns: Sequence[Column], widths: list[int], gap: int) -> list[Text]:
    between = " " * gap
    spans: list[str] = []
    left = iter(widths)
    for group, members in groupby(columns, key=lambda column: column.group):
        spanned = [next(left) for _ in members]
        spans.append(_over(group, sum(spanned) + gap * (len(spanned) - 1)))
    headings = [
        column.heading.join(column.blanks(column.heading, width)) for column, width in zip(columns, widths, strict=True)
    ]
    rule = "─" * (sum(widths) + gap * (len(widths) - 1))
    lines = [_line(between.join(spans)), _line(between.join(headings)), _line(rule, "dim")]
    lines[0].highlight_regex("─+", "dim")
    return lines if any(column.group for column in columns) else lines[1:]


def _over(group: str, span: int) -> str:
    """The group's name over its columns: between rules if there is room for them."""
    if not group or span < cell_len(group) + 6:
        return group.rjust(span)
    return f" {group} ".center(span, "─")


def _row(columns: Sequence[Column], widths: list[int], gap: int, row: int) -> Text:
    line = _line("")
    for place, (column, width) in enumerate(zip(columns, widths, strict=True)):
        cell = column.cells[row]
        before, after = column.blanks(cell, width)
        line.append(" " * (gap * bool(place)) + before)
        line.append(cell, column.cell_styles.get(cell, column.style))
        line.append(after)
    return line


def _line(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")
