"""Where output goes: results to stdout, everything else to stderr. The only place of the commands that knows rich."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

_MOST_COLUMNS = 1_000  # COLUMNS can name a million, and a plot of that width would take minutes
_BAR_CELLS = 10  # beside a text of 45 cells in 80 columns
_bars: list[Console] = []  # those on which a progress bar is shown


def stdout() -> Console:
    """The console for results; 80 columns wide unless stdout is a terminal.

    While a bar is shown in the same terminal, it is the bar's, lest a line is written into the bar.
    """
    if _bars and _bars[-1].is_terminal and sys.stdout.isatty():
        return _bars[-1]
    return _limited(Console(highlight=False, markup=False, emoji=False))


def stderr() -> Console:
    """The console for progress and notes; while a bar is shown its own, which prints lines above the bar."""
    return _bars[-1] if _bars else _limited(Console(stderr=True, highlight=False, markup=False, emoji=False))


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


@dataclass
class ProgressBar:
    """One task on stderr. `on_step` is ``None`` if no bar is shown: then nobody needs to tell about steps."""

    _update: Callable[..., None]
    _text: str
    is_shown: bool

    @property
    def on_step(self) -> Callable[[int, int, int], None] | None:
        """What to call as a step of training begins, with the batch size, the step and the number of steps."""
        return self._show_step if self.is_shown else None

    def describe(self, text: str) -> None:
        """Name what runs now."""
        self._text = text
        self._update(description=text)

    def advance(self, text: str | None = None, count: int = 1) -> None:
        """Count finished parts, and name what runs now."""
        self._text = self._text if text is None else text
        self._update(advance=count, description=self._text)

    def _show_step(self, batch_size: int, step: int, steps: int) -> None:
        batch = f"batch {batch_size:,}"
        named = re.search(r"batch [\d,]*\d", self._text)
        if named is None or named[0] == batch:  # otherwise it is a step of another point, which runs at the same time
            where = self._text if named else f"{self._text}, {batch}"
            self._update(description=f"{where}, step {step} of {steps}")


@contextmanager
def progress_bar(description: str, total: int | None) -> Iterator[ProgressBar]:
    """Show what runs, how much is done and the time, left or since the start, on stderr if that is a terminal.

    Lines that are printed meanwhile appear above the bar. Nothing of it is left at the end.
    """
    from rich import progress as rich

    counted = (
        rich.BarColumn(bar_width=_BAR_CELLS),
        rich.MofNCompleteColumn(),
        rich.TimeRemainingColumn(),
        rich.TextColumn("left"),
    )
    time = (rich.TimeElapsedColumn(),) if total is None else counted
    columns = (rich.SpinnerColumn(), rich.TextColumn("{task.description}"), *time)
    console = stderr()
    with rich.Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(description, total=total)
        _bars.append(console)
        try:
            yield ProgressBar(lambda **changes: progress.update(task, **changes), description, console.is_terminal)
        finally:
            _bars.remove(console)


@contextmanager
def live_view(hint: str) -> Iterator[Callable[[Callable[[int], RenderableType]], None]]:
    """Yield what shows a renderable in place, made for the terminal's width, above a dim `hint`."""
    from rich.live import Live

    console = stdout()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield lambda make: live.update(Group(make(console.width), Text(hint, "dim")), refresh=True)
