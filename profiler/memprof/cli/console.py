"""Where output goes: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress


def stdout() -> Console:
    """The console for results; 80 columns wide where stdout is no terminal."""
    return Console(highlight=False)


def stderr() -> Console:
    """The console for progress and notes."""
    return Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """Print one JSON object to stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


@contextmanager
def progress_bar(description: str, total: int | None) -> Iterator[Progress]:
    """A bar of one task on stderr while that is a terminal, and nothing of it left at the end."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    remaining = () if total is None else (TimeRemainingColumn(),)
    console = stderr()
    hidden = not console.is_terminal
    with Progress(*columns, *remaining, console=console, transient=True, disable=hidden) as progress:
        progress.add_task(description, total=total)
        yield progress
