"""Ctrl-C, SIGTERM and SIGHUP at every moment: one line, the status 128 + signal, and no traceback."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from memprof.cli.signals import Interrupted, Interruptions
from memprof.errors import ExitCode
from tests.paths import ROOT

# Sends itself a signal when a module is first looked for, which is how far a command has come.
_AT_IMPORT = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), {number})

sys.argv = ["memprof", *{arguments!r}]
from memprof.cli import main
sys.meta_path.insert(0, Interrupting())
main()
"""
# Raises the signal in places where Python or a library does not let an exception through.
_SWALLOWED = """
import os, signal, sys, time
sys.argv = ["memprof", "gpus"]
from memprof import cli

class Dying:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)

def dropped(arguments, interruptions):
    Dying()
    time.sleep(60)

def wrapped(arguments, interruptions):
    import typer
    def app(*_, **__):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
        except BaseException:
            raise ValueError("error building a validator") from None
    import memprof.cli.app
    memprof.cli.app.app = app
    return run(arguments, interruptions)

run, cli._run = cli._run, {way}
cli.main()
"""


def python(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "profiler")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "module",
    [
        *("memprof.cli.streams", "difflib", "typer", "typer.core", "memprof.cli.app", "memprof.cli.sweep"),
        *("pydantic", "pydantic.main", "pydantic_core", "memprof.config.sections", "rich.console"),
        *("memprof.experiments.sweep", "memprof.report.terminal.layout"),
    ],
)
def test_interrupt_at_an_import_is_one_line_and_130(module: str) -> None:
    arguments = ("sweep", "configs/absent.yaml")
    done = python(_AT_IMPORT.format(module=module, number=int(signal.SIGINT), arguments=arguments))
    assert (done.returncode, done.stderr) == (ExitCode.INTERRUPTED, "memprof: interrupted; nothing was saved\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("module", ["typer", "pydantic"])
def test_term_and_hup_are_one_line_and_128_plus_signal(module: str, number: signal.Signals) -> None:
    done = python(_AT_IMPORT.format(module=module, number=int(number), arguments=("gpus",)))
    assert done.returncode == 128 + number
    assert done.stderr == f"memprof: interrupted by {number.name}; nothing was saved\n"


@pytest.mark.parametrize("way", ["dropped", "wrapped"])
def test_interrupt_that_is_swallowed_still_ends_with_130(way: str) -> None:
    done = python(_SWALLOWED.format(way=way))
    assert (done.returncode, done.stderr) == (ExitCode.INTERRUPTED, "memprof: interrupted; nothing was saved\n")


@pytest.mark.parametrize("milliseconds", [40, 60, 80, 110, 150, 200, 300, 450])
def test_interrupt_during_the_first_half_second_has_no_traceback(milliseconds: int, tmp_path: Path) -> None:
    """Until `main` is called, Python itself prints a traceback, as it does for every program."""
    process = subprocess.Popen(
        [sys.executable, "-m", "memprof", "sweep", "configs/mnist_mlp.yaml", "--output-dir", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "profiler")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(milliseconds / 1000)
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=60)
    if "Traceback" in printed or process.returncode == -signal.SIGINT:
        assert not re.search(r'memprof/cli/__init__\.py", line \d+, in main', printed)
    else:
        *before, last = printed.splitlines()
        assert (process.returncode, last) == (ExitCode.INTERRUPTED, "memprof: interrupted; nothing was saved")
        assert [line.startswith("no real GPU found; emulating ") for line in before] in ([], [True])


def test_little_is_imported_before_signals_are_handled() -> None:
    script = "import sys; sys.path.insert(0, 'profiler'); import memprof.cli; print('re' in sys.modules)"
    done = subprocess.run([sys.executable, "-S", "-P", "-c", script], cwd=ROOT, capture_output=True, check=True)
    assert done.stdout == b"False\n"


def test_ignored_signals_stay_ignored() -> None:
    """As `nohup` and a shell without job control leave them to their commands."""
    script = "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); " + _AT_IMPORT.format(
        module="typer", number=int(signal.SIGHUP), arguments=("--version",)
    )
    assert python(script).returncode == ExitCode.OK


def test_interruptions_raise_only_within_the_block() -> None:
    interruptions = Interruptions()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    hook = sys.unraisablehook
    try:
        interruptions.install()
        with pytest.raises(Interrupted), interruptions.raising():
            signal.raise_signal(signal.SIGTERM)
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)
    assert (interruptions.describe(), interruptions.exit_status) == ("interrupted by SIGTERM", 143)
