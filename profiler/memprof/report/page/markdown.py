"""The page as Markdown for a pull request: verdict, compact tables, memory levels, largest blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator

from memprof.report.page.collect import ReportInputs
from memprof.report.page.document import make_page
from memprof.report.page.elements import Bars, Cell, Code, Listing, Part, Section, Table
from memprof.report.terminal.layout import shorten
from memprof.units import UNKNOWN

_MOST_ROWS = 12  # of a table, to keep a pull request short
_WIDEST = 80  # characters of a cell
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~@&])")


def to_markdown(inputs: ReportInputs) -> str:
    """Return the page in GitHub's Markdown. Names that users chose are escaped."""
    page = make_page(inputs)
    lines = [
        f"## {escape(page.title)}: GPU memory",
        "",
        f"**{escape(page.verdict.headline)}**",
        "",
        escape(" · ".join(page.circumstances)),
        "",
        "| | | |",
        "| --- | ---: | --- |",
        *(f"| {escape(f.name)} | **{escape(f.value)}** | {escape(f.detail)} |" for f in page.verdict.facts),
    ]
    for note in page.verdict.notes:
        lines += ["", escape(note)]
    for section in page.sections:
        lines += ["", *_section(section)]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Return `text` on one line, with every special character of Markdown and HTML escaped."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _section(section: Section) -> Iterator[str]:
    yield f"### {escape(section.title)}"
    for text in section.lead:
        yield from ("", escape(text))
    for part in section.parts:
        yield from _part(part)


def _part(part: Part) -> Iterator[str]:
    """Charts, the tree of modules and parts that are not brief are only in the HTML page."""
    if isinstance(part, Table | Bars) and part.brief:
        yield from ("", f"**{escape(part.caption)}**", "", *(_table(part) if isinstance(part, Table) else _bars(part)))
    elif isinstance(part, Code):
        fenced = _fenced(part.text)
        yield from ("", *(_folded(part.caption, fenced) if part.folded else fenced))
    elif isinstance(part, Listing):
        yield from ("", f"**{escape(part.caption)}**", "", *(f"- {escape(item)}" for item in part.items))


def _table(table: Table) -> Iterator[str]:
    heads = [" ".join(filter(None, (heading.text, _in_brackets(heading.group)))) for heading in table.headings]
    yield _row(escape(head) for head in heads)
    yield _row("---:" if heading.numeric else "---" for heading in table.headings)
    for row in table.rows[:_MOST_ROWS]:
        yield _row(_cell(cell) for cell in row)
    more = len(table.rows) - _MOST_ROWS
    notes = [f"{more:,} more rows are in the HTML page."] if more > 0 else []
    for note in (*notes, *table.notes):
        yield from ("", escape(note))


def _in_brackets(group: str) -> str:
    return f"({group})" if group else ""


def _cell(cell: Cell) -> str:
    text = escape(shorten(cell.text, _WIDEST))
    return f"**{text}**" if cell.style in ("strong", "bad") and cell.text != UNKNOWN else text


def _bars(bars: Bars) -> Iterator[str]:
    yield _row(["", bars.unit, ""])
    yield _row(["---", "---:", "---"])
    for bar in bars.bars:
        yield _row([escape(bar.name), f"**{bars.text(bar.total)}**", escape(bar.note)])
    for note in bars.notes:
        yield from ("", escape(note))


def _row(cells: Iterator[str] | list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _fenced(text: str) -> list[str]:
    """Fenced code; the fence is longer than any in the text, so that the text cannot end it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [fence, *text.splitlines(), fence]


def _folded(caption: str, lines: list[str]) -> list[str]:
    return [f"<details><summary>{escape(caption)}</summary>", "", *lines, "", "</details>"]
