"""A batch too large for the memory as micro-batches whose gradients are accumulated, shown by a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from memprof.config.schema import Mode
from memprof.errors import ConfigError
from memprof.experiments.max_batch.target import STEPS, Target
from memprof.experiments.sweep import default_jobs
from memprof.records import Accumulation, MaxBatch, Status
from memprof.worker.client import WorkerClient
from memprof.worker.protocol import Job

_MOST_TRIES = 6


def find_accumulations(
    client: WorkerClient, targets: Sequence[Target], answers: Sequence[MaxBatch], target_batch_size: int
) -> list[Accumulation | None]:
    """Return, for each target with its answer, the fewest accumulation steps whose micro-batch is safe and runs.

    ``None`` where no batch trains at all. The micro-batches are alike, so their size divides the target batch.
    Gradients live on between them, which a batch on its own does not show, so each way is run, over two micro-batches
    at least. Where no way runs, the last one is there with how it ended.

    Raises:
        ConfigError: in inference there are no gradients to accumulate.
    """
    if any(target.config.mode is Mode.INFERENCE for target in targets):
        raise ConfigError("--target-batch: mode inference accumulates no gradients")
    found: list[Accumulation | None] = [None] * len(targets)
    ways = [_ways(target_batch_size, max(a.safe_batch_size, min(a.largest_batch_size, 1))) for a in answers]
    while asked := [(place, steps) for place, left in enumerate(ways) if (steps := next(left, None)) is not None]:
        jobs = [_job(targets[place], answers[place], target_batch_size // steps, steps) for place, steps in asked]
        outcomes = client.outcomes(jobs, default_jobs(targets[0].device.source))
        for (place, steps), job, outcome in zip(asked, jobs, outcomes, strict=True):
            found[place] = Accumulation(
                target_batch_size=target_batch_size,
                micro_batch_size=job.batch_size,
                steps=steps,
                status=outcome.status,
            )
            if outcome.status is Status.OK:
                ways[place] = iter(())
    return found


def _ways(target_batch_size: int, safe_batch_size: int) -> Iterator[int]:
    """The numbers of equal micro-batches that are safe, the fewest first."""
    if not safe_batch_size:
        return
    fewest = -(-target_batch_size // safe_batch_size)
    ways = (steps for steps in range(fewest, target_batch_size + 1) if target_batch_size % steps == 0)
    yield from (steps for steps, _ in zip(ways, range(_MOST_TRIES), strict=False))


def _job(target: Target, answer: MaxBatch, micro_batch_size: int, steps: int) -> Job:
    config = target.config.model_copy(update={"gradient_accumulation": min(steps, 2)})
    return Job(
        config=config,
        optimizer=target.optimizer,
        batch_size=micro_batch_size,
        index=target.device.index,
        environment=dict(target.device.environment),
        memory_limit_bytes=answer.memory_limit_bytes,
        steps=STEPS,
    )
