"""Run the parts one after the other, each in a process that ends when its time is over."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.on_gpu.parts import Part

_GRACE_SECONDS = 5  # to end after SIGTERM
_OVER = "cut off"


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a part ended, and the file of its record."""

    name: str
    seconds: float
    how: str  # "done", "exit 4", "cut off", or "no time left"
    record: Path


def run(
    selected: Sequence[Part], seconds: float, record_of: Callable[[Part], Path], clock: Callable[[], float]
) -> Iterator[Ended]:
    """Run the parts within `seconds` in all, and yield how each ended.

    If `seconds` is less than the parts want together, each has its share.
    """
    share = min(1.0, seconds / sum(part.seconds for part in selected))
    started, granted = clock(), 0.0
    for part in selected:
        granted += share * part.seconds
        record, left = record_of(part), started + granted - clock()
        if left <= 0:
            yield Ended(name=part.name, seconds=0.0, how="no time left", record=record)
            continue
        before = clock()
        how = _run(part, left, record)
        yield Ended(name=part.name, seconds=clock() - before, how=how, record=record)


def _run(part: Part, seconds: float, record: Path) -> str:
    """Run a part with its output in `record`; its whole process group ends when the time is over."""
    with record.open("wb") as output:
        process = subprocess.Popen(part.command, stdout=output, start_new_session=True)
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            _end(process)
            return _OVER
        except BaseException:
            _end(process)
            raise
    return "done" if status == 0 else f"exit {status}"


def _end(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE_SECONDS)
    with suppress(ProcessLookupError):  # if no process of the group is left
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def fresh_folder(parent: Path, gpu: str) -> Path:
    """Create a folder for the records of a session, whose name has the GPU and the time, and return it."""
    folder = parent / f"{gpu}-{time.strftime('%Y-%m-%d-%H%M%S')}"
    folder.mkdir(parents=True)
    return folder
