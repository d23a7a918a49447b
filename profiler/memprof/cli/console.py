"""Where output goes: results to stdout, everything else to stderr. The only place of the commands that knows rich."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

_MOST_COLUMNS = 1_000  # COLUMNS can name a million, and a plot of that width would take minutes


def stdout() -> Console:
    """The console for results; 80 columns wide unless stdout is a terminal."""
    return _limited(Console(highlight=False, markup=False, emoji=False))


def stderr() -> Console:
    """The console for progress and notes."""
    return _limited(Console(stderr=True, highlight=False, markup=False, emoji=False))


def _limited(console: Console) -> Console:
    if console.width > _MOST_COLUMNS:
        console.width = _MOST_COLUMNS
    return console


def note(text: str) -> None:
    """Print one line about the run to stderr: stdout begins with the answer."""
    stderr().print(text, soft_wrap=True)


def print_line(text: str) -> None:
    """Print one line to stdout, however long it is."""
    stdout().print(text, soft_wrap=True)


def print_verdict(text: str) -> None:
    """Print the answer in one line, before everything else."""
    stdout().print(Text(text, "bold"), soft_wrap=True)


def print_next(command: str | None) -> None:
    """Print the command that is likely to be wanted next, if there is one."""
    if command:
        print_line(f"next: {command}")


def print_text(text: str) -> None:
    """Print text to stdout as it is."""
    sys.stdout.write(text)


def print_json(value: Any) -> None:
    """Print one JSON object to stdout."""
    print_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_json_line(value: Any) -> None:
    """Print one JSON object on one line, at once."""
    print_text(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_drawing(drawing: str) -> None:
    """Print a drawing with ANSI colors, in as many colors as the terminal has."""
    stdout().print(Text.from_ansi(drawing), soft_wrap=True)


@dataclass(frozen=True)
class ProgressBar:
    """One task on stderr."""

    _update: Callable[..., None]

    def describe(self, text: str) -> None:
        """Name what runs now."""
        self._update(description=text)

    def advance(self, text: str | None = None, count: int = 1) -> None:
        """Count finished steps, and name the last one."""
        self._update(advance=count, **({} if text is None else {"description": text}))


@contextmanager
def progress_bar(description: str, total: int | None) -> Iterator[ProgressBar]:
    """Show a bar on stderr if that is a terminal; nothing of it is left at the end."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    remaining = () if total is None else (TimeRemainingColumn(),)
    console = stderr()
    hidden = not console.is_terminal
    with Progress(*columns, *remaining, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task(description, total=total)
        yield ProgressBar(lambda **changes: progress.update(task, **changes))


@contextmanager
def live_view(hint: str) -> Iterator[Callable[[Callable[[int], RenderableType]], None]]:
    """Yield what shows a renderable in place, made for the terminal's width, above a dim `hint`."""
    from rich.live import Live

    console = stdout()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield lambda make: live.update(Group(make(console.width), Text(hint, "dim")), refresh=True)
