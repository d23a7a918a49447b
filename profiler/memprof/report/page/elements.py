"""What a page is made of, whatever it is written in: tables, bars, charts, sections. Bytes are ``int`` until shown."""

from __future__ import annotations

from dataclasses import dataclass

from memprof.report.page.charts import Chart
from memprof.units import UNKNOWN, format_bytes, format_percent

SortKey = int | float | str | None


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell: its text, what it is sorted by (``None``: last), and the category whose colour stands before it."""

    text: str
    sort: SortKey = None
    category: str | None = None
    style: str = ""  # "strong", "code", "bad"


@dataclass(frozen=True, kw_only=True)
class Heading:
    """The head of a column, under the name of a group (where its figures come from) if there is one."""

    text: str
    group: str = ""
    numeric: bool = True


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table with a caption. A row's first cell names it. One that is not `brief` is too much for a short page."""

    caption: str
    headings: tuple[Heading, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    brief: bool = True

    @property
    def groups(self) -> tuple[tuple[str, int], ...]:
        """The groups over the headings, and how many columns each spans; empty where no column has a group."""
        spans: list[tuple[str, int]] = []
        for heading in self.headings:
            if spans and spans[-1][0] == heading.group:
                spans[-1] = (heading.group, spans[-1][1] + 1)
            else:
                spans.append((heading.group, 1))
        return tuple(spans) if any(name for name, _ in spans) else ()


def bytes_cell(value_bytes: int | None, *, signed: bool = False, style: str = "") -> Cell:
    """Return a cell of bytes, sorted by the number."""
    return Cell(text=format_bytes(value_bytes, signed=signed), sort=value_bytes, style=style)


def count_cell(value: int | None) -> Cell:
    """Return a cell of a whole number, sorted by it."""
    return Cell(text=UNKNOWN if value is None else f"{value:,}", sort=value)


def percent_cell(value: float | None) -> Cell:
    """Return a cell of a signed percentage, sorted by it."""
    return Cell(text=format_percent(value), sort=value)


def text_cell(text: str | None, style: str = "", category: str | None = None) -> Cell:
    """Return a cell of words, sorted by them; unknown is a dash, and "" an empty cell."""
    return Cell(text=UNKNOWN if text is None else text, sort=text or None, style=style, category=category)


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A piece of a bar, in the colour of its category."""

    category: str
    name: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar of pieces, and in words what it is."""

    name: str
    segments: tuple[Segment, ...]
    total_bytes: int | None  # the figure beside it
    note: str = ""
    mark_bytes: int | None = None  # a line across the bar


@dataclass(frozen=True, kw_only=True)
class Bars:
    """Bars under each other on one scale, from 0 to the longest. Those that are not `brief` show a table's figures."""

    caption: str
    bars: tuple[Bar, ...]
    mark_name: str = ""  # what the lines across the bars are
    notes: tuple[str, ...] = ()
    brief: bool = False

    @property
    def widest_bytes(self) -> int:
        """The length of the longest bar, or where the farthest mark is."""
        lengths = [sum(segment.bytes for segment in bar.segments) for bar in self.bars]
        return max([*lengths, *(bar.mark_bytes or 0 for bar in self.bars), 1])

    @property
    def legend(self) -> tuple[Segment, ...]:
        """Each category once, in the order in which they first appear."""
        seen = {segment.category: segment for bar in self.bars for segment in bar.segments}
        return tuple(seen.values())


@dataclass(frozen=True, kw_only=True)
class Branch:
    """A submodule of the tree: its bar is on the scale of the whole model's."""

    name: str
    type: str
    shapes: str  # of its outputs
    parameters: int
    bar: Bar
    children: tuple[Branch, ...]


@dataclass(frozen=True, kw_only=True)
class Tree:
    """The submodules of a model, nested."""

    caption: str
    roots: tuple[Branch, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Code:
    """Text to copy, as it is; `folded` where it is long."""

    caption: str
    text: str
    folded: bool = False


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A list of short texts; `folded` where it is beside the point."""

    caption: str
    items: tuple[str, ...]
    folded: bool = False


Part = Table | Bars | Chart | Tree | Code | Listing


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page under a heading of its own."""

    id: str
    title: str
    lead: tuple[str, ...]
    parts: tuple[Part, ...]
