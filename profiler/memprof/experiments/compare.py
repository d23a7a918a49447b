"""The records of several configs from one worker, which imports torch once for them all."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

from memprof.config.load import LoadedConfig
from memprof.config.schema import SweepConfig
from memprof.errors import ConfigError, WorkloadError
from memprof.experiments.max_batch.search import Limits, Target, find_max_batches
from memprof.experiments.sweep import default_jobs, find_commit, make_record
from memprof.gpus.catalog import find_gpu
from memprof.gpus.phantom.environment import describe_gpu
from memprof.gpus.select import Device, choose_device
from memprof.records import Breakdown, Environment, Outcome, RunRecord, Source, Status
from memprof.worker.client import WorkerClient
from memprof.worker.protocol import Job


@dataclass(frozen=True, kw_only=True)
class MemoryBudget:
    """How much memory a run has: all of its GPU's unless said otherwise.

    `limit_bytes` is what `torch.cuda.set_per_process_memory_fraction` leaves to PyTorch's allocator. `unbounded` gives
    a phantom more memory than any GPU has, so that what a run would take is known where it does not fit; a real
    GPU cannot.
    """

    limit_bytes: int | None = None
    unbounded: bool = False


@dataclass(frozen=True, kw_only=True)
class _Run:
    config: SweepConfig
    device: Device
    breakdown: Breakdown | None
    reason: str | None  # why there is no breakdown


_ALL = MemoryBudget()
_UNBOUNDED_BYTES = 16 * 1024**4  # a phantom's memory is addresses; this is far above any GPU's


class VariantRuns:
    """A worker that measures the first point of any config that is a variant of the one it started with."""

    def __init__(self, client: WorkerClient, device: Device, environment: Environment, allocator: str | None) -> None:
        self.device = device
        self.environment = environment
        self._client = client
        self._allocator = allocator
        self._devices = {device.name: device}

    def records(
        self, configs: Sequence[SweepConfig], room: MemoryBudget = _ALL, breakdowns: bool = True
    ) -> Iterator[RunRecord]:
        """Yield the record of each config's only point, in their order; the analytic breakdown may be left out.

        A config that cannot be built or run is a record with its status and reason.

        Raises:
            DeviceError: the GPU of a config cannot be had.
            ConfigError: one GPU is real and another a phantom.
        """
        runs = [self._run(config, breakdowns) for config in configs]
        with closing(self._outcomes(runs, room)) as outcomes:
            for run, outcome in zip(runs, outcomes, strict=True):
                yield self._record(run, outcome)

    def largest_batch_size(self, config: SweepConfig) -> int | None:
        """Return the largest batch size that trains with `config` on its GPU, 0 where none does.

        ``None`` where it fails for another reason than memory.
        """
        optimizer, _ = config.points()[0]
        target = Target(config=config, optimizer=optimizer, device=self._device_of(config), extras=False)
        try:
            return next(find_max_batches(self._client, [target], Limits())).largest_batch_size
        except WorkloadError:
            return None

    def _run(self, config: SweepConfig, broken_down: bool) -> _Run:
        device = self._device_of(config)
        if not broken_down:
            return _Run(config=config, device=device, breakdown=None, reason=None)
        try:
            breakdown = self._client.breakdowns(config.points()[:1], config)[0]
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

    def _outcomes(self, runs: Sequence[_Run], room: MemoryBudget) -> Generator[Outcome, None, None]:
        if self.device.source is Source.ANALYTIC:
            ended = {True: Status.OK, False: Status.ERROR}
            yield from (Outcome(status=ended[run.reason is None], error=run.reason) for run in runs)
            return
        jobs = [self._job(run, room) for run in runs]
        yield from self._client.outcomes(jobs, default_jobs(self.device.source))

    def _job(self, run: _Run, room: MemoryBudget) -> Job:
        optimizer, batch_size = run.config.points()[0]
        return Job(
            optimizer=optimizer,
            batch_size=batch_size,
            config=run.config,
            index=run.device.index,
            environment=self._variables(run.device, room),
            memory_limit_bytes=room.limit_bytes,
        )

    def _variables(self, device: Device, room: MemoryBudget) -> dict[str, str | None]:
        variables: dict[str, str | None] = {} if device == self.device else {**device.environment}
        if room.unbounded and device.source is Source.EMULATED:
            variables["MEMPROF_PHANTOM"] = describe_gpu(replace(find_gpu(device.name), total_bytes=_UNBOUNDED_BYTES))
        return variables

    def _record(self, run: _Run, outcome: Outcome) -> RunRecord:
        return make_record(run.config, self._environment_of(run), run.config.points()[0], run.breakdown, outcome)

    def _environment_of(self, run: _Run) -> Environment:
        environment = self.environment
        if run.config.allocator != self._allocator:
            environment = replace(environment, allocator_settings=run.config.allocator)
        if run.device != self.device:
            environment = replace(environment, gpu=run.device.name, gpu_total_bytes=run.device.total_bytes)
        return environment


@contextmanager
def open_variant_runs(base: LoadedConfig) -> Iterator[VariantRuns]:
    """Start the worker on the base's GPU, and end it with the block.

    Raises:
        ConfigError, DeviceError, WorkloadError: the worker, the device or the base's model cannot be had.
    """
    device = choose_device(base.config.gpu)
    with WorkerClient(base, device) as client:
        environment = replace(client.environment(), git_commit=find_commit(base.folder))
        yield VariantRuns(client, device, environment, base.config.allocator)
