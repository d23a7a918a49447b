"""Find micro-batches that accumulate the gradients of a batch too large for the memory, verified by a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from memprof.config.schema import Mode
from memprof.engines.protocol import Engine, Task, in_order
from memprof.errors import ConfigError
from memprof.experiments.max_batch.target import MOST_STEPS, STEPS, Target
from memprof.records import Accumulation, MaxBatch, Status, safe_batch_size
from memprof.worker.protocol import Job

_MOST_CANDIDATES = 6  # of a target batch with many divisors: each costs a run


def find_accumulations(
    engine: Engine, targets: Sequence[Target], answers: Sequence[MaxBatch], target_batch_size: int
) -> list[Accumulation | None]:
    """Return, for each target with its answer, the fewest accumulation steps whose micro-batch is safe and runs.

    ``None`` if no batch trains at all. The micro-batches are of one size, which divides the target batch. Gradients
    stay allocated between them, which a single batch does not show, so each candidate runs with at least two
    micro-batches. If no candidate runs, the result is the last one with its status.

    Raises:
        ConfigError: in inference there are no gradients to accumulate.
    """
    if any(target.config.mode is Mode.INFERENCE for target in targets):
        raise ConfigError("--target-batch: mode inference accumulates no gradients")
    found: list[Accumulation | None] = [None] * len(targets)
    safe = [
        safe_batch_size(answer.largest_batch_size, answer.multiple_of)
        or min(answer.largest_batch_size, answer.multiple_of)
        for answer in answers
    ]
    counts = [_step_counts(target_batch_size, size) for size in safe]
    while planned := [(index, steps) for index, left in enumerate(counts) if (steps := next(left, None)) is not None]:
        jobs = [_job(targets[index], answers[index], target_batch_size // steps, steps) for index, steps in planned]
        results = in_order(engine.results([Task(job=job) for job in jobs]))
        for (index, steps), job, result in zip(planned, jobs, results, strict=True):
            found[index] = Accumulation(
                target_batch_size=target_batch_size,
                micro_batch_size=job.batch_size,
                steps=steps,
                status=result.outcome.status,
            )
            if result.outcome.status is Status.OK:
                counts[index] = iter(())
    return found


def _step_counts(target_batch_size: int, safe: int) -> Iterator[int]:
    """The numbers of equal micro-batches that are safe, the fewest first."""
    if not safe:
        return
    fewest = -(-target_batch_size // safe)
    divisors = (steps for steps in range(fewest, target_batch_size + 1) if target_batch_size % steps == 0)
    yield from (steps for steps, _ in zip(divisors, range(_MOST_CANDIDATES), strict=False))


def _job(target: Target, answer: MaxBatch, micro_batch_size: int, steps: int) -> Job:
    config = target.config.model_copy(update={"gradient_accumulation": min(steps, 2)})
    return Job(
        config=config,
        optimizer=target.optimizer,
        batch_size=micro_batch_size,
        gpu=target.device.choice,
        memory_limit_bytes=answer.memory_limit_bytes,
        steps=STEPS,
        most_steps=MOST_STEPS,
    )
