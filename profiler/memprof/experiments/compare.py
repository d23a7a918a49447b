"""The records of several configs from one worker, which imports PyTorch once for all of them."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from memprof.config.schema import SweepConfig
from memprof.config.variants import Variant
from memprof.errors import ConfigError, WorkloadError
from memprof.experiments.max_batch.search import Limits, Target, find_max_batches
from memprof.experiments.ranks import fullest_outcomes
from memprof.experiments.session import Session
from memprof.experiments.sweep import default_jobs, make_record
from memprof.gpus.catalog import find_gpu
from memprof.gpus.phantom.environment import describe_gpu
from memprof.gpus.select import Device, choose_device
from memprof.records import Breakdown, Environment, Outcome, RunRecord, Source, Status
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


@dataclass(frozen=True, kw_only=True)
class _Run:
    config: SweepConfig
    device: Device
    breakdown: Breakdown | None
    reason: str | None  # why there is no breakdown

    @property
    def analytic_outcome(self) -> Outcome:
        """The outcome without any GPU: only the breakdown can fail."""
        return Outcome(status=Status.OK if self.reason is None else Status.ERROR, error=self.reason)


_ALL = MemoryBudget()
_UNBOUNDED_BYTES = 16 * 1024**4  # a phantom's memory is only addresses; far more than any GPU has


class VariantRuns:
    """Measures the first point of any config that is a variant of the session's own."""

    def __init__(self, session: Session) -> None:
        self.device = session.device
        self.environment = session.environment
        self._client = session.client
        self._allocator = session.loaded.config.allocator
        self._devices = {session.device.name: session.device}

    def records(
        self, configs: Sequence[SweepConfig], budget: MemoryBudget = _ALL, breakdowns: bool = True
    ) -> Iterator[RunRecord]:
        """Yield the record of each config's first point, in their order, with its analytic breakdown if wanted.

        Of several ranks of a config it is that of the fullest.

        A config that cannot be built or run is a record with its status and reason.

        Raises:
            DeviceError: the GPU of a config is unavailable.
            ConfigError: one GPU is real and another a phantom.
        """
        runs = [self._run(config, breakdowns) for config in configs]
        with closing(self._outcomes(runs, budget)) as outcomes:
            for run, (config, outcome) in zip(runs, outcomes, strict=True):
                environment, point = self._environment_of(run), run.config.points()[0]
                yield make_record(config, environment, point, run.breakdown, outcome)

    def largest_batch_size(self, config: SweepConfig) -> int | None:
        """Return the largest batch size that trains with `config` on its GPU, or 0 if none does.

        ``None`` if it fails for another reason than memory.
        """
        optimizer, _ = config.points()[0]
        target = Target(config=config, optimizer=optimizer, device=self._device_of(config), extras=False)
        try:
            return next(find_max_batches(self._client, [target], Limits())).largest_batch_size
        except WorkloadError:
            return None

    def _run(self, config: SweepConfig, with_breakdown: bool) -> _Run:
        device = self._device_of(config)
        if not with_breakdown or config.parallel is not None:
            return _Run(config=config, device=device, breakdown=None, reason=None)
        try:
            breakdown = self._client.breakdowns(config.points()[:1], config, device)[0]
        except WorkloadError as error:
            return _Run(config=config, device=device, breakdown=None, reason=str(error))
        return _Run(config=config, device=device, breakdown=breakdown, reason=None)

    def _device_of(self, config: SweepConfig) -> Device:
        if self.device.source is Source.ANALYTIC or config.gpu == "auto":
            return self.device
        device = self._devices.setdefault(config.gpu, choose_device(config.gpu))
        if device.source is not self.device.source:
            sources = f"{self.device.name} is {self.device.source.value} and {device.name} {device.source.value}"
            raise ConfigError(f"gpu={config.gpu}: {sources}; compare real GPUs with real ones, phantoms with phantoms")
        return device

    def _outcomes(
        self, runs: Sequence[_Run], budget: MemoryBudget
    ) -> Generator[tuple[SweepConfig, Outcome], None, None]:
        """Yield how each run ended, with its config; of several ranks, the fullest and the config of that rank."""
        if self.device.source is Source.ANALYTIC:
            yield from ((run.config, run.analytic_outcome) for run in runs)
            return
        jobs = [(self._job(run, budget), run.config) for run in runs]
        with closing(fullest_outcomes(self._client, jobs, default_jobs(self.device.source))) as ended:
            yield from ((one.config, one.outcome) for one in ended)

    def _job(self, run: _Run, budget: MemoryBudget) -> Job:
        optimizer, batch_size = run.config.points()[0]
        return Job(
            optimizer=optimizer,
            batch_size=batch_size,
            config=run.config,
            index=run.device.index,
            environment=self._variables(run.device, budget),
            memory_limit_bytes=budget.limit_bytes,
        )

    def _variables(self, device: Device, budget: MemoryBudget) -> dict[str, str | None]:
        variables: dict[str, str | None] = {} if device == self.device else {**device.environment}
        if budget.unbounded and device.source is Source.EMULATED:
            variables["MEMPROF_PHANTOM"] = describe_gpu(replace(find_gpu(device.name), total_bytes=_UNBOUNDED_BYTES))
        return variables

    def _environment_of(self, run: _Run) -> Environment:
        environment = self.environment
        if run.config.allocator != self._allocator:
            environment = replace(environment, allocator_settings=run.config.allocator)
        if run.device != self.device:
            environment = replace(environment, gpu=run.device.name, gpu_total_bytes=run.device.total_bytes)
        return environment


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
        estimates = session.client.breakdowns([(optimizer, size) for size in sizes])
    except (WorkloadError, NoReplyError):
        return sizes[0]
    known = [(size, found.total_bytes) for size, found in zip(sizes, estimates, strict=True)]
    return max((size for size, needed in known if needed is not None and needed <= 0.8 * total), default=sizes[0])


def variant_records(runs: VariantRuns, variants: Sequence[Variant], max_batch: bool) -> Iterator[RunRecord]:
    """Yield the record of each variant; if its largest batch is found too, one variant at a time."""
    if runs.device.source is Source.ANALYTIC or not max_batch:
        records = runs.records([variant.loaded.config for variant in variants])
        yield from (replace(record, variant=v.label) for v, record in zip(variants, records, strict=True))
        return
    for variant in variants:
        (record,) = runs.records([variant.loaded.config])
        largest = runs.largest_batch_size(variant.loaded.config)
        yield replace(record, variant=variant.label, largest_batch_size=largest)
