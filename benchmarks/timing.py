"""The only code that times, and the only code that starts processes to be timed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

IMPORTS = ("-c", "import torch, torchvision")  # what every user of PyTorch waits for


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What one process took, and what it printed."""

    seconds: float
    peak_rss_bytes: int
    output: str


def run_python(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> Finished:
    """Run this interpreter with `arguments`, and with `environment` added to its own.

    Raises:
        RuntimeError: it failed; the text is the end of what it wrote to stderr.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        started = time.perf_counter()
        command, added = [sys.executable, *arguments], environment or {}
        process = subprocess.Popen(command, env={**os.environ, **added}, stdout=output, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            raise RuntimeError(f"python {' '.join(arguments)}: {errors.read()[-2000:]}")
        return Finished(seconds=seconds, peak_rss_bytes=usage.ru_maxrss * 1024, output=output.read())


def seconds_of(action: Callable[[], object]) -> float:
    """Return the wall time of one call."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def interleaved(subjects: Sequence[Callable[[], float]], repeats: int) -> tuple[float, ...]:
    """Return the median of each subject over `repeats` rounds, in each of which all take their turn.

    So a slow spell of the machine meets all of them. One more round before warms caches and is not counted.
    """
    rounds = [[subject() for subject in subjects] for _ in range(repeats + 1)][1:]
    return tuple(median(column) for column in zip(*rounds, strict=True))
