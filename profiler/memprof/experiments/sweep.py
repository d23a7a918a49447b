"""A sweep: the points of a config in their order, and the record of each as soon as it is measured."""

from __future__ import annotations

import os
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from memprof.config.ranks import configs_of_ranks
from memprof.config.schema import SweepConfig
from memprof.experiments.ranks import of_rank
from memprof.experiments.session import Session
from memprof.records import Breakdown, Environment, Outcome, RunRecord, Source, Status
from memprof.results import RowName
from memprof.worker.client import NoReplyError, WorkerClient
from memprof.worker.protocol import Job, Point


@dataclass(frozen=True, kw_only=True)
class SweepPoint:
    """One row of a sweep to be: a point of the config, and the config of the rank that runs it."""

    config: SweepConfig
    point: Point

    @property
    def name(self) -> RowName:
        """What distinguishes its row from the others."""
        optimizer, batch_size = self.point
        parallel = self.config.parallel
        return RowName(optimizer.label if optimizer else None, batch_size, rank=parallel.rank if parallel else None)

    @property
    def job(self) -> Job:
        """What the worker gets."""
        optimizer, batch_size = self.point
        return of_rank(Job(optimizer=optimizer, batch_size=batch_size), self.config)


@dataclass(frozen=True, kw_only=True)
class _Estimate:
    """The analytic breakdown of a point, or how the process that should compute it ended."""

    breakdown: Breakdown | None
    outcome: Outcome  # of the point if there is no GPU


def sweep_points(config: SweepConfig) -> list[SweepPoint]:
    """Return the rows of a sweep of `config`, in their order: all ranks of a point together."""
    ranks = configs_of_ranks(config)
    return [SweepPoint(config=rank, point=point) for point in config.points() for rank in ranks]


def make_record(
    config: SweepConfig, environment: Environment, point: Point, breakdown: Breakdown | None, outcome: Outcome
) -> RunRecord:
    """Return the record of a point of `config` that ended with `outcome`."""
    optimizer, batch_size = point
    return RunRecord(
        model=config.model.name,
        optimizer=optimizer.label if optimizer else None,
        precision=config.precision.value,
        mode=config.mode.value,
        batch_size=batch_size,
        source=environment.source,
        status=outcome.status,
        environment=environment,
        breakdown=breakdown,
        reading=outcome.reading,
        error=outcome.error,
        **_rank_of(config),
    )


def _rank_of(config: SweepConfig) -> dict[str, Any]:
    parallel = config.parallel
    if parallel is None:
        return {}
    return {"rank": parallel.rank, "world_size": parallel.mesh.world_size, "mesh": parallel.mesh.label}


def sweep_records(session: Session, done: Collection[RowName] = (), jobs: int | None = None) -> Iterator[RunRecord]:
    """Yield the record of each point that is not in `done`, in the order of the config's points.

    A point that fails is a record with its status and reason, and the sweep continues. `jobs` points run at the same
    time: by default one, or two on a phantom, where each process has its own GPU.

    Raises:
        WorkloadError: before the first record: the model cannot run these inputs, or takes too long on shapes alone.
    """
    config, environment = session.loaded.config, session.environment
    points = [point for point in sweep_points(config) if point.name not in done]
    if not points:
        return
    estimates = _no_estimates(points) if config.parallel else _estimates(session.client, [one.point for one in points])
    with closing(_outcomes(session, points, estimates, jobs or default_jobs(environment.source))) as outcomes:
        for point, estimate, outcome in zip(points, estimates, outcomes, strict=True):
            yield make_record(point.config, environment, point.point, estimate.breakdown, outcome)


def default_jobs(source: Source) -> int:
    """Return how many points may run at the same time: two only if each process has its own GPU, as on a phantom."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 2 if source is Source.EMULATED and cores >= 2 else 1


def _no_estimates(points: Sequence[SweepPoint]) -> list[_Estimate]:
    """Estimate nothing: shapes alone do not say what one rank of many keeps and gathers."""
    return [_Estimate(breakdown=None, outcome=Outcome(status=Status.OK))] * len(points)


def _estimates(client: WorkerClient, points: Sequence[Point]) -> list[_Estimate]:
    """Estimate all points in one process; if it crashes, exits or is killed, use one process for each optimizer."""
    by_optimizer = [list(group) for _, group in groupby(points, key=lambda point: point[0])]
    try:
        found = client.breakdowns(points)
        return [_Estimate(breakdown=breakdown, outcome=Outcome(status=Status.OK)) for breakdown in found]
    except NoReplyError as error:
        if error.outcome.status is Status.TIMEOUT:  # otherwise the time limit would pass again for each optimizer
            raise
        if len(by_optimizer) == 1:
            return [_Estimate(breakdown=None, outcome=error.outcome)] * len(points)
    return [estimate for group in by_optimizer for estimate in _estimates(client, group)]


def _outcomes(
    session: Session, points: Sequence[SweepPoint], estimates: Sequence[_Estimate], jobs: int
) -> Generator[Outcome, None, None]:
    if session.environment.source is Source.ANALYTIC:
        yield from (estimate.outcome for estimate in estimates)
    else:
        yield from session.client.outcomes([point.job for point in points], jobs)
