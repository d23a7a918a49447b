"""Find the largest batch size that trains, on one GPU or on several: one worker, and in each round one trial a GPU.

GPUs of one compute capability make nearly the same requests. So one GPU of each is searched first, and the others begin
at the limit that its runs predict for their memory. Each GPU's own trials still verify its limit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace

from memprof.allocator.simulator import address_order_for
from memprof.engines.protocol import Engine, Task
from memprof.experiments.max_batch.situation import Start
from memprof.experiments.max_batch.start import find_starts
from memprof.experiments.max_batch.target import Limits, Target
from memprof.experiments.max_batch.target_search import TargetSearch
from memprof.experiments.max_batch.trials import PlannedTrial
from memprof.experiments.ranks import fullest_results
from memprof.records import MaxBatch, Source

__all__ = ["Limits", "Target", "find_max_batches"]


def find_max_batches(
    engine: Engine,
    targets: Sequence[Target],
    limits: Limits,
    on_limit: Callable[[MaxBatch], None] | None = None,
    on_trial: Callable[[str, int], None] | None = None,
) -> Iterator[MaxBatch]:
    """Yield the answer of each target as soon as it is complete, not in the order of the targets.

    All targets are of one kind, real or phantom, and of the config's folder that `engine` has. With `extras` come the
    batch at 80 % of the memory and the confirming run. `on_limit` is called once for each target that has extras, as
    soon as its largest batch is known, with the answer so far. `on_trial` is called with the GPU and the batch size
    before each trial.

    Raises:
        WorkloadError: the first batch fails for another reason than memory.
    """
    deadline = None if limits.timeout_seconds is None else time.monotonic() + limits.timeout_seconds
    environment = engine.environment()
    targets = [_with_cuda_memory(target, environment.gpu_total_bytes) for target in targets]
    starts, addresses = find_starts(engine, targets, limits), address_order_for(environment.torch_version)
    searches, waiting = list[TargetSearch](), dict[TargetSearch, list[tuple[Target, Start]]]()
    for (first, start), *others in _alike(zip(targets, starts, strict=True)):
        searches.append(TargetSearch(first, limits, start, addresses))
        waiting[searches[-1]] = others
    while searches:
        for search in searches:
            search.is_late = search.has_begun and deadline is not None and time.monotonic() >= deadline
        for known in [search for search in waiting if search.has_boundary or search.has_ended]:
            searches += [TargetSearch(target, limits, start, addresses, known) for target, start in waiting.pop(known)]
        yield from (search.answer() for search in searches if search.has_ended)
        asked = [(search, search.planned) for search in searches if search.planned is not None and not search.is_late]
        searches = [search for search, _ in asked]
        if on_trial is not None:
            for search, planned in asked:
                on_trial(search.gpu, planned.job.batch_size)
        _run_round(engine, asked, on_limit)


def _run_round(
    engine: Engine,
    asked: Sequence[tuple[TargetSearch, PlannedTrial]],
    on_limit: Callable[[MaxBatch], None] | None,
) -> None:
    """Run one trial of each search. A search plans its next one while another's trial is under way."""
    wanted = [(Task(job=planned.job), search.config) for search, planned in asked]
    with closing(fullest_results(engine, wanted)) as results:
        for place, ended in results:
            search, planned = asked[place]
            had_boundary = search.has_boundary
            search.take(planned, ended.result.outcome, ended.seconds)
            if on_limit is not None and search.has_boundary and not had_boundary and search.planned is not None:
                on_limit(search.answer())


def _alike(targets: Iterable[tuple[Target, Start]]) -> list[list[tuple[Target, Start]]]:
    """Group the targets by what decides their requests; in each group the GPU with the median memory is the first."""
    groups: dict[tuple[int, int, str], list[tuple[Target, Start]]] = {}
    for target, start in targets:
        key = id(target.config), id(target.optimizer), target.device.traits.compute_capability
        groups.setdefault(key, []).append((target, start))
    for group in groups.values():
        group.sort(key=lambda one: one[0].device.total_bytes or 0)
        group.insert(0, group.pop(len(group) // 2))
    return list(groups.values())


def _with_cuda_memory(target: Target, total_bytes: int | None) -> Target:
    """Return `target` with the memory that CUDA has: NVML's is more by what the driver keeps, 615 MiB on an H200."""
    if target.device.source is not Source.MEASURED:
        return target
    return replace(target, device=replace(target.device, total_bytes=total_bytes))
