"""The records of several configs from one worker, which imports PyTorch once for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from memprof.config.schema import SweepConfig
from memprof.config.variants import Variant
from memprof.engines.protocol import Estimate, Task, in_order
from memprof.errors import WorkloadError
from memprof.experiments.max_batch.search import Limits, Target, find_max_batches
from memprof.experiments.ranks import fullest_results
from memprof.experiments.session import Session
from memprof.experiments.sweep import make_record
from memprof.gpus.catalog import find_gpu
from memprof.gpus.phantom.environment import describe_gpu
from memprof.gpus.select import Device
from memprof.records import RunRecord, Source
from memprof.worker.client import NoReplyError
from memprof.worker.protocol import Job


@dataclass(frozen=True, kw_only=True)
class MemoryBudget:
    """How much memory a run has: by default all of its GPU's.

    `limit_bytes` is the limit that `torch.cuda.set_per_process_memory_fraction` sets for PyTorch's allocator.
    `unbounded` gives a phantom more memory than any GPU has, so that the peak of a run that does not fit is known;
    it has no effect on a real GPU.
    """

    limit_bytes: int | None = None
    unbounded: bool = False


_ALL = MemoryBudget()
_UNBOUNDED_BYTES = 16 * 1024**4  # a phantom's memory is only addresses; far more than any GPU has


class VariantRuns:
    """Measures the first point of any config that is a variant of the session's own."""

    def __init__(self, session: Session) -> None:
        self.device = session.device
        self.environment = session.environment
        self._session = session

    def records(
        self, configs: Sequence[SweepConfig], budget: MemoryBudget = _ALL, breakdowns: bool = True
    ) -> Iterator[RunRecord]:
        """Yield the record of each config's first point, in their order; otherwise as `numbered_records`."""
        return in_order(self.numbered_records(configs, budget, breakdowns))

    def numbered_records(
        self, configs: Sequence[SweepConfig], budget: MemoryBudget = _ALL, breakdowns: bool = True
    ) -> Iterator[tuple[int, RunRecord]]:
        """Yield the index and the record of each config's first point as it is ready.

        It has the analytic breakdown if that is wanted. Of several ranks of a config it is that of the fullest.

        A config that cannot be built or run is a record with its status and reason.

        Raises:
            DeviceError: the GPU of a config is unavailable.
            ConfigError: one GPU is real and another a phantom.
        """
        tasks = [(self._task(config, budget, breakdowns), config) for config in configs]
        environments = [self._session.environment_of(config) for config in configs]
        with closing(fullest_results(self._session.engine, tasks)) as results:
            for index, ended in results:
                point, result = ended.config.points()[0], ended.result
                yield index, make_record(ended.config, environments[index], point, result.breakdown, result.outcome)

    def largest_batch_size(self, config: SweepConfig) -> int | None:
        """Return the largest batch size that trains with `config` on its GPU, or 0 if none does.

        ``None`` if it fails for another reason than memory.
        """
        optimizer, _ = config.points()[0]
        target = Target(config=config, optimizer=optimizer, device=self._session.device_of(config), extras=False)
        try:
            return next(find_max_batches(self._session.engine, [target], Limits())).largest_batch_size
        except WorkloadError:
            return None

    def _task(self, config: SweepConfig, budget: MemoryBudget, with_breakdown: bool) -> Task:
        optimizer, batch_size = config.points()[0]
        device = self._session.device_of(config)
        job = Job(
            optimizer=optimizer,
            batch_size=batch_size,
            config=config,
            gpu=device.choice,
            environment=_unbounded(device) if budget.unbounded else {},
            memory_limit_bytes=budget.limit_bytes,
        )
        needed = with_breakdown and config.parallel is None
        return Task(job=job, estimate=Estimate.OPTIONAL if needed else Estimate.NONE)


def _unbounded(device: Device) -> Mapping[str, str]:
    if device.source is not Source.EMULATED:
        return {}
    return {"MEMPROF_PHANTOM": describe_gpu(replace(find_gpu(device.name), total_bytes=_UNBOUNDED_BYTES))}


def default_batch_size(session: Session, config: SweepConfig) -> int:
    """Return the largest configured batch size whose estimate takes at most 80 % of the GPU's memory.

    Small batches hide what settings save: weights dominate there. It is the smallest if none is below that or there
    is no estimate, and the largest without a GPU.
    """
    sizes, total = sorted(config.list_batch_sizes()), session.environment.gpu_total_bytes
    if total is None or len(sizes) == 1:
        return sizes[-1]
    if config.parallel is not None:  # there is no estimate for one rank of many
        return sizes[0]
    optimizer = config.points()[0][0]
    try:
        estimates = session.engine.breakdowns([(optimizer, size) for size in sizes])
    except (WorkloadError, NoReplyError):
        return sizes[0]
    known = [(size, found.total_bytes) for size, found in zip(sizes, estimates, strict=True)]
    return max((size for size, needed in known if needed is not None and needed <= 0.8 * total), default=sizes[0])


def variant_records(runs: VariantRuns, variants: Sequence[Variant], max_batch: bool) -> Iterator[RunRecord]:
    """Yield the record of each variant as it is ready; if its largest batch is found too, one variant at a time."""
    if runs.device.source is Source.ANALYTIC or not max_batch:
        records = runs.numbered_records([variant.loaded.config for variant in variants])
        yield from (replace(record, variant=variants[index].label) for index, record in records)
        return
    for variant in variants:
        (record,) = runs.records([variant.loaded.config])
        largest = runs.largest_batch_size(variant.loaded.config)
        yield replace(record, variant=variant.label, largest_batch_size=largest)
