"""The analytic estimates of tasks, many in one process of the worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from memprof.config.schema import SweepConfig
from memprof.engines.protocol import Estimate, Task
from memprof.errors import WorkloadError
from memprof.gpus.select import Device
from memprof.records import Breakdown, Outcome, Status
from memprof.worker.client import NoReplyError, WorkerClient
from memprof.worker.protocol import Point


@dataclass(frozen=True, kw_only=True)
class Estimated:
    """The analytic breakdown of a task, or how the process that should compute it ended."""

    breakdown: Breakdown | None
    outcome: Outcome  # of the task if there is no GPU


def estimate_tasks(client: WorkerClient, tasks: Sequence[Task]) -> list[Estimated]:
    """Return the estimate of each task, in their order; tasks in a row of one config and GPU share a process.

    Raises:
        WorkloadError: a required estimate cannot be computed.
    """
    found = []
    for (kind, config, gpu), group in groupby(tasks, lambda task: (task.estimate, task.job.config, task.job.gpu)):
        points = [(task.job.optimizer, task.job.batch_size) for task in group]
        found += _estimate_points(client, points, config, client.device_of(gpu), kind)
    return found


def _estimate_points(
    client: WorkerClient, points: Sequence[Point], config: SweepConfig | None, device: Device, kind: Estimate
) -> list[Estimated]:
    if kind is Estimate.NONE:
        return [Estimated(breakdown=None, outcome=Outcome(status=Status.OK))] * len(points)
    try:
        return _estimates(client, points, config, device)
    except WorkloadError as error:
        if kind is Estimate.REQUIRED:
            raise
        return [Estimated(breakdown=None, outcome=Outcome(status=Status.ERROR, error=str(error)))] * len(points)


def _estimates(
    client: WorkerClient, points: Sequence[Point], config: SweepConfig | None, device: Device
) -> list[Estimated]:
    """Estimate all points in one process; if it crashes, exits or is killed, use one process for each optimizer."""
    by_optimizer = [list(group) for _, group in groupby(points, key=lambda point: point[0])]
    try:
        found = client.breakdowns(points, config, device)
        return [Estimated(breakdown=breakdown, outcome=Outcome(status=Status.OK)) for breakdown in found]
    except NoReplyError as error:
        if error.outcome.status is Status.TIMEOUT:  # otherwise the time limit would pass again for each optimizer
            raise
        if len(by_optimizer) == 1:
            return [Estimated(breakdown=None, outcome=error.outcome)] * len(points)
    return [estimate for group in by_optimizer for estimate in _estimates(client, group, config, device)]
