"""The data model of a page in any language: tables, bars, charts, sections. Bytes are ``int`` until they are shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from memprof.records import Status
from memprof.report.assumed import starred_bytes
from memprof.report.figures import Figure, bound_text
from memprof.report.page.charts import Chart
from memprof.units import UNKNOWN, format_bytes, format_percent

SortKey = int | float | str | None


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell: its text, its sort key (``None``: last), and the category whose color is shown before the text."""

    text: str
    sort: SortKey = None
    category: str | None = None
    style: str = ""  # "strong", "code", "bad"


@dataclass(frozen=True, kw_only=True)
class Heading:
    """The heading of a column; `group` is a name over several columns, such as the source of their figures.

    The cells of a column that is `below` are long texts: HTML shows each below its row, so that they need no column.
    """

    text: str
    group: str = ""
    counts: str = ""  # what the figures count
    numeric: bool = True
    below: bool = False


def figure_heading(figure: Figure, group: str, *, short: bool = False, star: str = "") -> Heading:
    """Return the heading of a column of one figure of records; `short` for a table with many columns."""
    text = figure.short_heading if short else figure.heading
    return Heading(text=text + star, group=group, counts=figure.counts)


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table with a caption. The first cell of a row names it. A short page leaves out tables that are not `brief`."""

    caption: str
    headings: tuple[Heading, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    brief: bool = True

    @property
    def columns(self) -> tuple[Heading, ...]:
        """The headings of the columns next to each other."""
        return tuple(heading for heading in self.headings if not heading.below)

    @property
    def groups(self) -> tuple[tuple[str, int], ...]:
        """The groups over the columns, and how many columns each spans; empty if no column has a group."""
        spans: list[tuple[str, int]] = []
        for heading in self.columns:
            if spans and spans[-1][0] == heading.group:
                spans[-1] = (heading.group, spans[-1][1] + 1)
            else:
                spans.append((heading.group, 1))
        return tuple(spans) if any(name for name, _ in spans) else ()

    def cells(self, row: tuple[Cell, ...]) -> list[tuple[Heading, Cell]]:
        """Return the cells of a row under `columns`, each with its heading."""
        return [(heading, cell) for heading, cell in zip(self.headings, row, strict=True) if not heading.below]

    def texts_below(self, row: tuple[Cell, ...]) -> list[str]:
        """Return the texts that are shown below a row."""
        pairs = zip(self.headings, row, strict=True)
        return [cell.text for heading, cell in pairs if heading.below and cell.text]


def bytes_cell(value_bytes: int | None, *, signed: bool = False, style: str = "", star: str = "") -> Cell:
    """Return a cell of bytes, sorted by the number; a known one has the `star`."""
    return Cell(text=starred_bytes(value_bytes, star, signed=signed), sort=value_bytes, style=style)


def bound_cell(value_bytes: int | None, status: Status, *, style: str = "") -> Cell:
    """Return a cell of a peak; that of a run that did not finish is a lower bound: ``> 14.40 GiB``."""
    return Cell(text=bound_text(value_bytes, status), sort=value_bytes, style=style)


def count_cell(value: int | None) -> Cell:
    """Return a cell of a whole number, sorted by it."""
    return Cell(text=UNKNOWN if value is None else f"{value:,}", sort=value)


def percent_cell(value: float | None) -> Cell:
    """Return a cell of a signed percentage, sorted by it."""
    return Cell(text=format_percent(value), sort=value)


def text_cell(text: str | None, style: str = "", category: str | None = None) -> Cell:
    """Return a cell of text, sorted by it; unknown is a dash, and "" an empty cell."""
    return Cell(text=UNKNOWN if text is None else text, sort=text or None, style=style, category=category)


def status_cell(status: Status) -> Cell:
    """Return a cell that says how a run ended."""
    return text_cell(status.value, style="" if status is Status.OK else "bad")


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A segment of a bar, in the color of its category."""

    category: str
    name: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar of segments, with the figure next to it and a note."""

    name: str
    segments: tuple[Segment, ...]
    total: int | None  # the figure next to the bar
    note: str = ""
    mark: int | None = None  # a line across the bar


@dataclass(frozen=True, kw_only=True)
class Bars:
    """Bars on one scale, from 0 to the longest. A short page shows the figures only of bars that are `brief`."""

    caption: str
    bars: tuple[Bar, ...]
    unit: Literal["bytes", "samples"] = "bytes"
    mark_name: str = ""  # what the lines across the bars mean
    notes: tuple[str, ...] = ()
    brief: bool = False

    @property
    def longest(self) -> int:
        """The length of the longest bar, or the position of the farthest mark."""
        lengths = [sum(segment.size for segment in bar.segments) for bar in self.bars]
        return max([*lengths, *(bar.mark or 0 for bar in self.bars), 1])

    @property
    def mark_legend(self) -> str:
        """What the lines across the bars mean; "" if no bar has one, as when no run finished."""
        return self.mark_name if any(bar.mark is not None for bar in self.bars) else ""

    @property
    def legend(self) -> tuple[Segment, ...]:
        """Each category once, in the order of the first appearance."""
        seen = {segment.category: segment for bar in self.bars for segment in bar.segments}
        return tuple(seen.values())

    def text(self, value: int | None) -> str:
        """Return a figure in the unit of the bars."""
        return format_bytes(value) if self.unit == "bytes" else count_cell(value).text


@dataclass(frozen=True, kw_only=True)
class Branch:
    """A module in the tree; its bar has the scale of the whole model's."""

    name: str
    type: str
    shapes: str  # of its outputs
    parameters: int
    bar: Bar
    children: tuple[Branch, ...]


@dataclass(frozen=True, kw_only=True)
class Tree:
    """The modules of a model, nested."""

    caption: str
    roots: tuple[Branch, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Code:
    """Text to copy; `folded` if it is long."""

    caption: str
    text: str
    folded: bool = False


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A list of short texts; `folded` if it is secondary."""

    caption: str
    items: tuple[str, ...]
    folded: bool = False


Part = Table | Bars | Chart | Tree | Code | Listing


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page with its own heading."""

    id: str
    title: str
    lead: tuple[str, ...]
    parts: tuple[Part, ...]
