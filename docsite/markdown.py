"""Markdown of the generated parts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table. A `|` in a cell is escaped."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)


def code(text: str) -> str:
    """Return `text` as inline code, or nothing for empty text."""
    return f"`{text}`" if text else ""


def sentence(text: str) -> str:
    """Return `text` on one line, its first letter a capital, with a full stop."""
    line = " ".join(text.split())
    return f"{line[:1].upper()}{line[1:].rstrip('.')}." if line else ""
