"""Render the tables of a run for the terminal and for results.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Section:
    """One table and its heading."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


_HEAD = """# Results of `python -m benchmarks`

Written by the run itself; [README.md](README.md) explains each row. Medians of {repeats} rounds.
"""


def table(section: Section) -> Table:
    """Return one table for the terminal."""
    made = Table(title=section.title, title_justify="left", box=SIMPLE_HEAD)
    for heading, *cells in zip(section.headings, *section.rows, strict=True):
        words = [word for cell in cells for word in cell.split()]
        made.add_column(heading, min_width=max(map(len, words)))  # so that numbers are not split in a narrow terminal
    for row in section.rows:
        made.add_row(*row)
    return made


def markdown(machine: Sequence[str], sections: Sequence[Section], repeats: int) -> str:
    """Return the text of results.md."""
    parts = [_HEAD.format(repeats=repeats), *(f"- {line}" for line in machine)]
    for section in sections:
        lines = [section.headings, ["---"] * len(section.headings), *section.rows]
        parts += [f"\n## {section.title}\n", *(f"| {' | '.join(line)} |" for line in lines)]
    return "\n".join(parts) + "\n"
