"""The engine of this machine: a worker for each folder of configs, one after the other."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import groupby
from pathlib import Path

from memprof.config.load import LoadedConfig
from memprof.config.schema import SweepConfig
from memprof.engines.estimates import Estimated, estimate_tasks
from memprof.engines.protocol import PointResult, Task
from memprof.gpus.select import Device
from memprof.records import Breakdown, Environment, Outcome, Source
from memprof.worker.client import OnStep, WorkerClient
from memprof.worker.protocol import Point


class LocalEngine:
    """Measures with `client` what is of the folder that `loaded` has, and other folders with a worker of their own."""

    place = None

    def __init__(
        self, client: WorkerClient, loaded: LoadedConfig, device: Device, on_step: OnStep | None = None
    ) -> None:
        self._client, self._loaded, self._device, self._on_step = client, loaded, device, on_step

    def environment(self) -> Environment:
        """Return the environment of the measurements, as the worker sees it."""
        return self._client.environment()

    def breakdowns(
        self,
        points: Sequence[Point],
        config: SweepConfig | None = None,
        device: Device | None = None,
        *,
        with_peaks: bool = True,
    ) -> tuple[Breakdown, ...]:
        """Return the analytic breakdown of each of `points`, as `WorkerClient.breakdowns` does."""
        return self._client.breakdowns(points, config, device, with_peaks=with_peaks)

    def results(self, tasks: Sequence[Task]) -> Generator[tuple[int, PointResult], None, None]:
        """Yield the index and the result of each task, here in their order; `default_jobs` run at the same time.

        Raises:
            WorkloadError: a required estimate cannot be computed, before the first result of its folder.
        """
        index = 0
        for folder, group in groupby(tasks, key=lambda task: task.folder):
            together = list(group)
            with self._worker(folder, together[0]) as client:
                estimates = estimate_tasks(client, together)
                with closing(self._outcomes(client, together, estimates)) as outcomes:
                    for estimate, (outcome, seconds) in zip(estimates, outcomes, strict=True):
                        yield index, PointResult(breakdown=estimate.breakdown, outcome=outcome, seconds=seconds)
                        index += 1

    @contextmanager
    def _worker(self, folder: Path | None, first: Task) -> Iterator[WorkerClient]:
        """Yield the worker of `folder`: the engine's own, or one that builds the first task's model and then ends."""
        if folder is None or folder == self._loaded.folder:
            yield self._client
            return
        config = first.job.config or self._loaded.config
        loaded = LoadedConfig(config=config, folder=folder, path=self._loaded.path)
        with WorkerClient(loaded, self._device, self._on_step) as client:
            yield client

    def _outcomes(
        self, client: WorkerClient, tasks: Sequence[Task], estimates: Sequence[Estimated]
    ) -> Generator[tuple[Outcome, float], None, None]:
        if self._device.source is Source.ANALYTIC:
            yield from ((estimate.outcome, 0.0) for estimate in estimates)
        else:
            yield from client.timed_outcomes([task.job for task in tasks], default_jobs(self._device.source))


def default_jobs(source: Source) -> int:
    """Return how many points may run at the same time: two only if each process has its own GPU, as on a phantom."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 2 if source is Source.EMULATED and cores >= 2 else 1
