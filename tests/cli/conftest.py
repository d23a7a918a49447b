"""Running the command line as a user does: a process of its own, in a folder of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

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


def write_slow_config(folder: Path, batch_sizes: str) -> Path:
    """Write a config of a model that takes its time, so that a run of it can be stopped midway."""
    (folder / "slow.py").write_text(
        "import time, torch\n"
        "class Slow(torch.nn.Linear):\n"
        "    def forward(self, x):\n"
        "        if x.is_cuda: time.sleep(0.7)\n"
        "        return super().forward(x)\n"
        "def build(): return Slow(4, 2)\n"
    )
    config = folder / "slow.yaml"
    config.write_text(
        "model: slow.py:build\ninput: {shape: [4]}\ntarget: {shape: [], dtype: int64, range: [0, 2]}\n"
        f"optimizers: [sgd]\nbatch_sizes: [{batch_sizes}]\n"
    )
    return config


def stop_midway(arguments: Sequence[str], results: Path) -> tuple[int, str]:
    """Run memprof, press Ctrl-C once two rows are saved; return the exit status and what stderr said."""
    stopped = subprocess.Popen(
        [sys.executable, "-m", "memprof", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT / "profiler")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(600):
        if any(len(file.read_text().splitlines()) >= 2 for file in results.glob("*/*/records.jsonl")):
            break
        time.sleep(0.1)
    else:
        stopped.kill()
        raise AssertionError("no rows were saved within a minute")
    stopped.send_signal(signal.SIGINT)
    _, said = stopped.communicate(timeout=60)
    return stopped.returncode, said
