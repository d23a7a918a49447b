"""The progress bar in a real terminal: messages are on lines of their own, and nothing of the bar is left."""

from __future__ import annotations

import os
import pty
import re
import sys

import pytest

from memprof.cli.console import progress_bar

PROGRAM = """
import time
from memprof.cli.console import note, print_line, progress_bar, stderr
with progress_bar("t4: adam, batch 64", {total}) as progress:
    progress.on_step(64, 2, 5)
    progress.on_step(128, 1, 5)
    time.sleep(0.3)
    note("a note while it runs")
    print_line("a result while it runs")
    progress.advance("t4: adam, batch 128")
    time.sleep(0.3)
stderr().print("after the bar")
"""
ERASED = re.compile(r"(?:\r|\n|\x1b\[2K|\x1b\[1A|\x1b\[\?25[hl]|\x1b\[0m)$")


def in_a_terminal(program: str) -> str:
    """Run Python code whose standard streams are a terminal of 100 columns; return what it wrote there."""
    pid, terminal = pty.fork()
    if not pid:
        os.environ.update(COLUMNS="100", TERM="xterm-256color", PYTHONPATH=os.pathsep.join(sys.path))
        os.execv(sys.executable, [sys.executable, "-c", program])
    written = b""
    while True:
        try:
            part = os.read(terminal, 65_536)
        except OSError:  # the program has ended
            break
        if not part:
            break
        written += part
    assert os.waitpid(pid, 0)[1] == 0, written.decode()
    return written.decode()


@pytest.fixture(scope="module", params=["3", "None"])
def written(request: pytest.FixtureRequest) -> str:
    return in_a_terminal(PROGRAM.format(total=request.param))


@pytest.mark.parametrize("message", ["a note while it runs", "a result while it runs", "after the bar"])
def test_progress_bar_is_never_on_the_line_of_a_message(written: str, message: str) -> None:
    before, after = written.split(message, 1)
    assert ERASED.search(before), repr(before[-80:])
    assert re.match(r"(?:\x1b\[0m)?\s*\r?\n", after), repr(after[:80])


def test_progress_bar_names_what_runs_and_the_time(written: str) -> None:
    assert "t4: adam, batch 64" in written
    assert "t4: adam, batch 128" in written
    shown = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", written)
    assert re.search(r"[01]/3 .*left|0:00:0\d", shown)


def test_progress_bar_names_the_step_of_the_point_that_it_names(written: str) -> None:
    assert "t4: adam, batch 64, step 2 of 5" in written
    assert "step 1 of 5" not in written


def test_progress_bar_asks_for_no_steps_without_a_terminal() -> None:
    with progress_bar("starting", 3) as progress:
        assert progress.on_step is None


def test_progress_bar_leaves_nothing_at_the_end(written: str) -> None:
    last = written.split("after the bar")[0]
    assert "\x1b[2K" in last[-30:]
