"""The ranks that run of one training step: a job for each, and the outcome of the fullest."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice

from memprof.config.ranks import configs_of_ranks
from memprof.config.schema import SweepConfig
from memprof.records import Outcome
from memprof.results.fullest import fullness
from memprof.worker.client import WorkerClient
from memprof.worker.protocol import Job


@dataclass(frozen=True, kw_only=True)
class RankOutcome:
    """How the run of one rank ended. `config` names that rank alone, and `seconds` are those of all ranks together."""

    config: SweepConfig
    outcome: Outcome
    seconds: float


def fullest_outcomes(
    client: WorkerClient, jobs: Sequence[tuple[Job, SweepConfig]], at_once: int
) -> Generator[RankOutcome, None, None]:
    """Run each job for all ranks of its config, and yield the outcome of the fullest rank, in the order of the jobs."""
    ranks = [configs_of_ranks(config) for _, config in jobs]
    runs = [of_rank(job, config) for (job, _), configs in zip(jobs, ranks, strict=True) for config in configs]
    with closing(client.timed_outcomes(runs, at_once)) as outcomes:
        for configs in ranks:
            yield _fullest(configs, islice(outcomes, len(configs)))


def of_rank(job: Job, config: SweepConfig) -> Job:
    """Return `job` with a config that names one rank; unchanged if one GPU trains the model."""
    return job if config.parallel is None else replace(job, config=config)


def _fullest(configs: Sequence[SweepConfig], timed: Iterator[tuple[Outcome, float]]) -> RankOutcome:
    ended = list(timed)
    outcomes = [outcome for outcome, _ in ended]
    place = max(range(len(outcomes)), key=lambda place: fullness(outcomes[place].status, outcomes[place].reading))
    return RankOutcome(config=configs[place], outcome=outcomes[place], seconds=sum(seconds for _, seconds in ended))
