"""The ranks that run of one training step: a job for each, and the outcome of the fullest."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice

from memprof.config.ranks import configs_of_ranks
from memprof.config.schema import SweepConfig
from memprof.engines.protocol import Engine, PointResult, Task, in_order
from memprof.results.fullest import fullness
from memprof.worker.protocol import Job


@dataclass(frozen=True, kw_only=True)
class RankResult:
    """How the run of one rank ended. `config` names that rank alone; `seconds` are those of all ranks together."""

    config: SweepConfig
    result: PointResult
    seconds: float


def fullest_results(engine: Engine, tasks: Sequence[tuple[Task, SweepConfig]]) -> Generator[RankResult, None, None]:
    """Run each task for all ranks of its config, and yield the fullest rank's result, in the order of the tasks."""
    ranks = [configs_of_ranks(config) for _, config in tasks]
    runs = [
        replace(task, job=of_rank(task.job, config))
        for (task, _), configs in zip(tasks, ranks, strict=True)
        for config in configs
    ]
    with closing(engine.results(runs)) as unordered:
        results = in_order(unordered)
        for configs in ranks:
            yield _fullest(configs, islice(results, len(configs)))


def of_rank(job: Job, config: SweepConfig) -> Job:
    """Return `job` with a config that names one rank; unchanged if one GPU trains the model."""
    return job if config.parallel is None else replace(job, config=config)


def _fullest(configs: Sequence[SweepConfig], results: Iterator[PointResult]) -> RankResult:
    ended = list(results)
    outcomes = [one.outcome for one in ended]
    place = max(range(len(outcomes)), key=lambda place: fullness(outcomes[place].status, outcomes[place].reading))
    return RankResult(config=configs[place], result=ended[place], seconds=sum(one.seconds for one in ended))
