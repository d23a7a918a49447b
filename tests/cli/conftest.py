"""Running the command line as a user does: in a process of its own, or, for what is printed, in this one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from memprof import cli
from tests.paths import ROOT

Memprof = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def memprof() -> Memprof:
    """Run ``memprof(*arguments, cwd=folder, **environment)`` and return how it ended and what it printed."""

    def run(*arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "memprof", *arguments],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT / "profiler"), "COLUMNS": "80", **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Memprof:
    """The same in this process, for tests of what a command prints: a process of its own adds only time."""

    def run(*arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(cwd)
        for name, value in {"COLUMNS": "80", **environment}.items():
            monkeypatch.setenv(name, value)
        status = cli._run(list(arguments))
        printed = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, status, printed.out, printed.err)

    return run


def without_notes(stderr: str) -> str:
    """Return stderr without the lines that name the GPU and what was inferred."""
    notes = re.compile(r"^(?:.*; )?emulating .* on a phantom GPU\n|^input .*; .*\n", re.MULTILINE)
    return notes.sub("", stderr)


def one_line(ended: subprocess.CompletedProcess[str], status: int) -> str:
    """Check the exit status of a refused command, and that it printed a single line; return that line.

    A command that has chosen its GPU says so before it can fail.
    """
    lines = without_notes(ended.stderr).strip().splitlines()
    assert ended.returncode == status, ended.stderr
    assert len(lines) == 1, lines
    assert lines[0].startswith("memprof: ")
    return lines[0]


def write_slow_config(folder: Path, batch_sizes: str) -> Path:
    """Write a config of a model that takes its time, so that a run of it can be interrupted."""
    (folder / "slow.py").write_text(
        "import time, torch\n"
        "class Slow(torch.nn.Linear):\n"
        "    def forward(self, x):\n"
        "        if x.is_cuda: time.sleep(0.3)\n"
        "        return super().forward(x)\n"
        "def build(): return Slow(4, 2)\n"
    )
    config = folder / "slow.yaml"
    config.write_text(
        "model: slow.py:build\ninput: {shape: [4]}\ntarget: {shape: [], dtype: int64, range: [0, 2]}\n"
        f"optimizers: [sgd]\nbatch_sizes: [{batch_sizes}]\n"
    )
    return config


def interrupt(
    arguments: Sequence[str], results: Path, number: signal.Signals = signal.SIGINT, seconds: int = 60
) -> subprocess.CompletedProcess[str]:
    """Run memprof and send it a signal once two rows are saved; return how it ended and what stderr had."""
    stopped = subprocess.Popen(
        [sys.executable, "-m", "memprof", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT / "profiler")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(10 * seconds):
        if any(len(file.read_text().splitlines()) >= 2 for file in results.glob("*/*/records.jsonl")):
            break
        time.sleep(0.1)
    else:
        stopped.kill()
        raise AssertionError(f"no rows were saved within {seconds} s")
    stopped.send_signal(number)
    _, printed = stopped.communicate(timeout=60)
    return subprocess.CompletedProcess(arguments, stopped.returncode, "", printed)
