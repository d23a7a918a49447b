"""Which points a sweep has, in which order, and their records as they come."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from memprof.config.load import LoadedConfig
from memprof.config.schema import SweepConfig
from memprof.gpus.select import Device
from memprof.records import Breakdown, Environment, Outcome, RunRecord, Source, Status
from memprof.worker.client import WorkerClient
from memprof.worker.protocol import Point

PointName = tuple[str | None, int]  # an optimizer's label, None in inference, and a batch size


def point_name(point: Point) -> PointName:
    """Return what tells a point from the others of its sweep, as its row names it."""
    optimizer, batch_size = point
    return (optimizer.label if optimizer else None), batch_size


def make_record(
    config: SweepConfig, environment: Environment, point: Point, breakdown: Breakdown | None, outcome: Outcome
) -> RunRecord:
    """Return the record of a point of `config` that ended with `outcome`."""
    optimizer, batch_size = point_name(point)
    return RunRecord(
        model=config.model.name,
        optimizer=optimizer,
        precision=config.precision.value,
        mode=config.mode.value,
        batch_size=batch_size,
        source=environment.source,
        status=outcome.status,
        environment=environment,
        breakdown=breakdown,
        reading=outcome.reading,
        error=outcome.error,
    )


class Sweep:
    """A sweep whose worker is there: its circumstances are known, its points are not run yet."""

    def __init__(self, client: WorkerClient, loaded: LoadedConfig, environment: Environment) -> None:
        self.environment = environment
        self._client = client
        self._config = loaded.config

    def records(self, done: Collection[PointName] = (), jobs: int | None = None) -> Iterator[RunRecord]:
        """Yield the record of each point that is not in `done`, in the order of the config's points.

        A point that fails is a record with its status and reason, and the sweep goes on. `jobs` points run at
        the same time: by default one, or two on a phantom, where each has a GPU of its own.

        Raises:
            WorkloadError: before the first record: no point can be run.
        """
        points = [point for point in self._config.points() if point_name(point) not in done]
        if not points:
            return
        breakdowns = self._client.breakdowns(points)
        with closing(self._outcomes(points, jobs or default_jobs(self.environment.source))) as outcomes:
            for point, breakdown, outcome in zip(points, breakdowns, outcomes, strict=True):
                yield make_record(self._config, self.environment, point, breakdown, outcome)

    def _outcomes(self, points: list[Point], jobs: int) -> Generator[Outcome, None, None]:
        if self.environment.source is Source.ANALYTIC:
            yield from (Outcome(status=Status.OK) for _ in points)
        else:
            yield from self._client.outcomes(points, jobs)


@contextmanager
def open_sweep(loaded: LoadedConfig, device: Device) -> Iterator[Sweep]:
    """Start the worker of a sweep, and end it with the block.

    Raises:
        ConfigError, DeviceError, WorkloadError: the worker, the device or the model cannot be had.
    """
    with WorkerClient(loaded, device) as client:
        environment = replace(client.environment(), git_commit=find_commit(loaded.folder))
        yield Sweep(client, loaded, environment)


def run_sweep(
    loaded: LoadedConfig, device: Device, done: Collection[PointName] = (), jobs: int | None = None
) -> Iterator[RunRecord]:
    """Yield the records of a sweep from its start to its end: `open_sweep` and `Sweep.records` in one.

    Raises:
        ConfigError, DeviceError, WorkloadError: before the first record: no point can be run.
    """
    with open_sweep(loaded, device) as sweep:
        yield from sweep.records(done, jobs)


def default_jobs(source: Source) -> int:
    """Return how many points may run at once: more than one only where each has a GPU of its own."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 2 if source is Source.EMULATED and cores >= 2 else 1


def find_commit(folder: Path) -> str | None:
    """Return the git commit that `folder` is at, or ``None`` where there is no repository or no git."""
    command = ["git", "-C", str(folder), "rev-parse", "--verify", "HEAD"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None
