"""The findings of `memprof doctor`: what is installed, and how to fix what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

_STYLES = {"ok": "green", "warn": "bold magenta", "missing": "bold red"}


@dataclass(frozen=True, kw_only=True)
class CheckRow:
    """One finding: its state is ``ok``, ``warn`` or ``missing``; `advice` says how to fix it unless it is ok."""

    name: str
    state: Literal["ok", "warn", "missing"]
    detail: str
    advice: str | None = None


def doctor_table(checks: Sequence[CheckRow]) -> RenderableType:
    """Return one row for each finding, its advice below it."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(2):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        table.add_row(Text(check.name, "bold"), Text(check.state, _STYLES[check.state]), Text(check.detail))
        if check.advice:
            table.add_row("", "", Text(check.advice, "dim"))
    return table
