"""What a Slurm job does: measure its points, and write each result to a file as soon as it is there. No torch here."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from memprof.config.schema import SweepConfig
from memprof.engines.protocol import PointResult, Task
from memprof.engines.runner import Assignment, Refused, Runner
from memprof.records import Breakdown, Environment
from memprof.worker.protocol import Point

_DRIVER_GONE_SECONDS = 300.0  # without a sign of life; file systems of clusters may show a change a minute late


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chunk's file: the result of a task, or first the environment and the machine."""

    node: str
    environment: Environment | None = None
    index: int | None = None
    result: PointResult | None = None


@cache
def _adapter() -> TypeAdapter[Any]:
    return TypeAdapter(Line)


def describe(assignment: Assignment) -> Line | Refused:
    """Return the environment on the machine of the job."""
    with closing(Runner()) as runner:
        found = runner.start(assignment)
        return found if isinstance(found, Refused) else Line(node=runner.hello().node, environment=found)


def estimate(
    assignment: Assignment, points: Sequence[Point], config: SweepConfig | None, gpu: str | None, with_peaks: bool
) -> tuple[Breakdown, ...] | Refused:
    """Return the analytic breakdown of each point."""
    with closing(Runner()) as runner:
        found = runner.start(assignment)
        return found if isinstance(found, Refused) else runner.breakdowns(points, config, gpu, with_peaks)


def measure_chunk(assignment: Assignment, tasks: Sequence[tuple[int, Task]], file: Path, alive: Path) -> Refused | None:
    """Measure `tasks`, each with its index, and write a line for each; stop if the driver has not touched `alive`."""
    driver = _Driver(alive)
    with closing(Runner()) as runner, file.open("ab", buffering=0) as lines:
        environment = runner.start(assignment)
        if isinstance(environment, Refused):
            return environment
        node = runner.hello().node
        _write(lines, Line(node=node, environment=environment))
        for index, task in tasks:
            if driver.has_gone():
                return None
            result = runner.result(task)
            if isinstance(result, Refused):
                return result
            _write(lines, Line(node=node, index=index, result=result))
    return None


def _write(file: Any, line: Line) -> None:
    file.write(_adapter().dump_json(line) + b"\n")
    os.fsync(file.fileno())


class LineReader:
    """Reads the lines that a job has written since the last time."""

    def __init__(self, file: Path) -> None:
        self._file, self._offset = file, 0

    def new_lines(self) -> Iterator[Line]:
        """Yield what is new; half a line at the end is left for the next time."""
        try:
            with self._file.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:  # the job has not begun
            return
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            yield _adapter().validate_json(line)


class _Driver:
    """The process that submitted the job, by the file that it touches."""

    def __init__(self, alive: Path) -> None:
        self._alive, self._stamp, self._since = alive, 0.0, time.monotonic()

    def has_gone(self) -> bool:
        """Whether the file was removed, or not touched for a while by this machine's clock."""
        try:
            stamp = self._alive.stat().st_mtime
        except OSError:
            return True
        if stamp != self._stamp:
            self._stamp, self._since = stamp, time.monotonic()
        return time.monotonic() - self._since > _DRIVER_GONE_SECONDS
