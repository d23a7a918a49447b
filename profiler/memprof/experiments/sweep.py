"""Sweeps: the points of configs, and the record of each as soon as it is measured."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from memprof.config.load import LoadedConfig
from memprof.config.ranks import configs_of_ranks
from memprof.config.schema import SweepConfig
from memprof.engines.protocol import Estimate, Task
from memprof.experiments.ranks import of_rank
from memprof.experiments.session import Session, find_commit
from memprof.records import Breakdown, Environment, Outcome, RunRecord
from memprof.results import RowName
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
class Sweep:
    """A config, and those of its points that are to be measured; whether their estimates are required."""

    loaded: LoadedConfig
    points: Sequence[SweepPoint]
    estimate: Estimate = Estimate.REQUIRED


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


def sweep_records(session: Session, done: Collection[RowName] = ()) -> Iterator[RunRecord]:
    """Yield the record of each point of the session's config that is not in `done`, as `records_of_sweeps` does."""
    points = [point for point in sweep_points(session.loaded.config) if point.name not in done]
    return (record for _, record in records_of_sweeps(session, [Sweep(loaded=session.loaded, points=points)]))


def records_of_sweeps(session: Session, sweeps: Sequence[Sweep]) -> Iterator[tuple[int, RunRecord]]:
    """Yield the record of each point as it is ready, with the index of its sweep.

    A point that fails is a record with its status and reason, and the sweeps continue.

    Raises:
        WorkloadError: a model cannot run these inputs, or takes too long on shapes alone.
    """
    points = [(index, point) for index, sweep in enumerate(sweeps) for point in sweep.points]
    environments = [environment_of(session, sweep.loaded) for sweep in sweeps]
    tasks = [_task(session, sweeps[index], point) for index, point in points]
    with closing(session.engine.results(tasks)) as results:
        for place, result in results:
            index, point = points[place]
            yield index, make_record(point.config, environments[index], point.point, result.breakdown, result.outcome)


def environment_of(session: Session, loaded: LoadedConfig) -> Environment:
    """Return the environment of the records of `loaded`, with the git commit of its folder."""
    found = session.environment_of(loaded.config)
    return found if loaded.folder == session.loaded.folder else replace(found, git_commit=find_commit(loaded.folder))


def _task(session: Session, sweep: Sweep, point: SweepPoint) -> Task:
    """Return the task of a point. Shapes alone do not say what one rank of many keeps and gathers."""
    loaded = sweep.loaded
    is_own = loaded is session.loaded
    job = point.job if is_own else replace(point.job, config=point.config, gpu=session.device_of(loaded.config).choice)
    estimate = sweep.estimate if loaded.config.parallel is None else Estimate.NONE
    return Task(job=job, folder=loaded.folder, estimate=estimate)
