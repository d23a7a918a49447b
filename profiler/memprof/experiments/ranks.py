"""The ranks that run of one training step: a job for each, and the outcome of the fullest."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from memprof.config.ranks import configs_of_ranks
from memprof.config.schema import SweepConfig
from memprof.engines.protocol import Engine, PointResult, Task
from memprof.results.fullest import fullness
from memprof.worker.protocol import Job


@dataclass(frozen=True, kw_only=True)
class RankResult:
    """How the run of one rank ended. `config` names that rank alone; `seconds` are those of all ranks together."""

    config: SweepConfig
    result: PointResult
    seconds: float


def fullest_results(
    engine: Engine, tasks: Sequence[tuple[Task, SweepConfig]]
) -> Generator[tuple[int, RankResult], None, None]:
    """Run each task for all ranks of its config, and yield its index and the fullest rank's result, in any order."""
    ranks = [configs_of_ranks(config) for _, config in tasks]
    runs = [
        (place, replace(task, job=of_rank(task.job, config)))
        for place, (task, _) in enumerate(tasks)
        for config in ranks[place]
    ]
    ended: list[dict[int, PointResult]] = [{} for _ in tasks]  # by the index of the run, whose order is that of ranks
    with closing(engine.results([run for _, run in runs])) as results:
        for index, result in results:
            place = runs[index][0]
            ended[place][index] = result
            if len(ended[place]) == len(ranks[place]):
                yield place, _fullest(ranks[place], [ended[place][index] for index in sorted(ended[place])])


def of_rank(job: Job, config: SweepConfig) -> Job:
    """Return `job` with a config that names one rank; unchanged if one GPU trains the model."""
    return job if config.parallel is None else replace(job, config=config)


def _fullest(configs: Sequence[SweepConfig], ended: Sequence[PointResult]) -> RankResult:
    outcomes = [one.outcome for one in ended]
    place = max(range(len(outcomes)), key=lambda place: fullness(outcomes[place].status, outcomes[place].reading))
    return RankResult(config=configs[place], result=ended[place], seconds=sum(one.seconds for one in ended))
