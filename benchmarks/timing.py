"""Time calls and processes; no other module does."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import IO

IMPORTS = ("-c", "import torch, torchvision")  # every program that uses PyTorch needs them


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The time and memory of one process, and its output."""

    seconds: float
    peak_rss_bytes: int
    output: str
    first_line_seconds: float | None = None  # until the first line of the output, if it was watched


def run_python(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> Finished:
    """Run this interpreter with `arguments`, and with `environment` added to its own.

    Raises:
        RuntimeError: it failed; the text is the end of what it wrote to stderr.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        started = time.perf_counter()
        command, added = [sys.executable, *arguments], environment or {}
        process = subprocess.Popen(command, env={**os.environ, **added}, stdout=output, stderr=errors, text=True)
        peak_rss_bytes = _wait(process, arguments, errors)
        seconds = time.perf_counter() - started
        output.seek(0)
        return Finished(seconds=seconds, peak_rss_bytes=peak_rss_bytes, output=output.read())


def run_until_answer(arguments: Sequence[str]) -> Finished:
    """Run this interpreter with `arguments` to its end, and note when the first line of its output came.

    Raises:
        RuntimeError: it failed; the text is the end of what it wrote to stderr.
    """
    with tempfile.TemporaryFile("w+") as errors:
        started = time.perf_counter()
        process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, stderr=errors, text=True)
        assert process.stdout is not None
        first = process.stdout.readline()
        answered = time.perf_counter() - started
        output = first + process.stdout.read()
        peak_rss_bytes = _wait(process, arguments, errors)
        seconds = time.perf_counter() - started
    return Finished(seconds=seconds, peak_rss_bytes=peak_rss_bytes, output=output, first_line_seconds=answered)


def _wait(process: subprocess.Popen[str], arguments: Sequence[str], errors: IO[str]) -> int:
    """Wait for the end of a process, and return its peak RSS in bytes; raise what it wrote to `errors` if it failed."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        errors.seek(0)
        raise RuntimeError(f"python {' '.join(arguments)}: {errors.read()[-2000:]}")
    return usage.ru_maxrss * 1024


def seconds_of(action: Callable[[], object]) -> float:
    """Return the wall time of one call."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def interleaved(subjects: Sequence[Callable[[], float]], repeats: int) -> tuple[float, ...]:
    """Return the median of each subject over `repeats` rounds; in each round, all subjects run once.

    A temporary slowdown of the machine therefore affects all of them. A first round, which warms caches, does not
    count.
    """
    rounds = [[subject() for subject in subjects] for _ in range(repeats + 1)][1:]
    return tuple(median(column) for column in zip(*rounds, strict=True))
