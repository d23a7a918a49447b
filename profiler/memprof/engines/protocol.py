"""What every engine does: tasks in, results out as they are ready. The local worker and clusters implement it."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Protocol, TypeVar

from memprof.config.schema import SweepConfig
from memprof.gpus.select import Device
from memprof.records import Breakdown, Environment, Outcome
from memprof.worker.protocol import Job, Point

T = TypeVar("T")


class Estimate(Enum):
    """Whether a task needs its analytic estimate."""

    NONE = auto()
    OPTIONAL = auto()  # a model that cannot run on shapes alone is measured all the same
    REQUIRED = auto()  # a model that cannot run on shapes alone ends the command


@dataclass(frozen=True, kw_only=True)
class Task:
    """One point to measure. `folder` is that of its config, which paths are relative to; ``None``: the engine's own."""

    job: Job
    folder: Path | None = None
    estimate: Estimate = Estimate.NONE


@dataclass(frozen=True, kw_only=True)
class PointResult:
    """How a task ended: its analytic estimate if it needs one, the outcome, and the seconds of the measurement."""

    breakdown: Breakdown | None
    outcome: Outcome
    seconds: float


class Engine(Protocol):
    """Measures points of configs on one kind of device. Each result belongs to the task with its index."""

    @property
    def place(self) -> str | None:
        """Where it measures, for the progress bar; ``None`` on this machine."""

    def environment(self) -> Environment:
        """Return the environment of the measurements.

        Raises:
            ConfigError, DeviceError, WorkloadError: nothing can be measured.
        """

    def breakdowns(
        self,
        points: Sequence[Point],
        config: SweepConfig | None = None,
        device: Device | None = None,
        *,
        with_peaks: bool = True,
    ) -> tuple[Breakdown, ...]:
        """Return the analytic breakdown of each of `points`, as `WorkerClient.breakdowns` does."""

    def results(self, tasks: Sequence[Task]) -> Generator[tuple[int, PointResult], None, None]:
        """Yield the index of each task with its result, as they are ready and so in any order; each index once.

        Raises:
            WorkloadError: the model of a task with a required estimate cannot run on shapes alone.
            DeviceError: nothing more can be measured.
        """


def in_order(results: Iterable[tuple[int, T]]) -> Iterator[T]:
    """Yield results in the order of their tasks."""
    waiting, following = dict[int, T](), 0
    for index, result in results:
        waiting[index] = result
        while following in waiting:
            yield waiting.pop(following)
            following += 1
