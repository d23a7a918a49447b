"""The largest batch size that trains, on one GPU or on several: one worker, and in each round one try a GPU."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from memprof.allocator.address_order import AddressPolicy
from memprof.allocator.extrapolate import BatchExtrapolator, is_informative
from memprof.allocator.simulator import address_order_for
from memprof.config.schema import Mode, OptimizerConfig, SweepConfig
from memprof.errors import WorkloadError
from memprof.experiments.max_batch.limits import find_stop
from memprof.experiments.max_batch.strategy import (
    BatchBoundary,
    Bounds,
    TrialFigures,
    find_boundary,
    fit_line,
    next_batch_size,
)
from memprof.experiments.sweep import default_jobs
from memprof.gpus.catalog import find_gpu
from memprof.gpus.phantom.environment import describe_gpu
from memprof.gpus.select import Device
from memprof.records import MaxBatch, MemoryFit, Outcome, Phase, Reading, Source, Status, StopReason, Trial
from memprof.worker.client import WorkerClient
from memprof.worker.protocol import Job

STEPS = 2  # the first has no optimizer state yet, so it alone proves nothing
_GUIDED_AT_80 = 6
_NOT_MEMORY = frozenset(StopReason) - {StopReason.MEMORY, StopReason.MEMORY_LIMIT}
_LIKELY_FREE = 0.9  # of a GPU's memory, before its context is known
_LARGEST_START = 10_000  # of models so small that their data would take longest
_AMPLE_BYTES = 2**42  # of a phantom on which the smallest batch is weighed


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What bounds a search. `timeout_seconds` is for the whole of it.

    Where `start` is ``None``, the first try is about half of what shapes and dtypes alone say would fit.
    """

    start: int | None = None
    most: int | None = None
    multiple_of: int = 1
    memory_limit_bytes: int | None = None
    timeout_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Target:
    """What to search for: a config with one of its optimizers on one GPU. `extras`: see `find_max_batches`."""

    config: SweepConfig
    optimizer: OptimizerConfig | None
    device: Device
    extras: bool = True


def find_max_batches(client: WorkerClient, targets: Sequence[Target], limits: Limits) -> Iterator[MaxBatch]:
    """Yield the answer of each target as it is found, not in their order.

    All targets are of one kind, real or phantom, and of the config's folder that `client` has. With `extras` come the
    batch at 80 per cent of the memory and the confirming run.

    Raises:
        WorkloadError: the first batch fails for another reason than memory.
    """
    deadline = None if limits.timeout_seconds is None else time.monotonic() + limits.timeout_seconds
    environment = client.environment()
    targets = [_as_cuda_counts(target, environment.gpu_total_bytes) for target in targets]
    starts, order = _starts(client, targets, limits), address_order_for(environment.torch_version)
    searches = [_Search(target, limits, start, order) for target, start in zip(targets, starts, strict=True)]
    while searches:
        for search in searches:
            search.late = search.begun and deadline is not None and time.monotonic() >= deadline
        asked = [(search, job) for search in searches if (job := search.next_job()) is not None]
        yield from (search.answer() for search in searches if search.next_job() is None)
        searches = [search for search, _ in asked]
        jobs = default_jobs(targets[0].device.source)
        with closing(client.timed_outcomes([job for _, job in asked], jobs)) as outcomes:
            for (search, job), (outcome, seconds) in zip(asked, outcomes, strict=True):
                search.take(job, outcome, seconds)
                search.next_job()  # thought out now, while another search's try is under way


def _as_cuda_counts(target: Target, total_bytes: int | None) -> Target:
    """Return `target` with the memory that CUDA has: NVML's is more by what the driver keeps, 615 MiB on an H200."""
    if target.device.source is not Source.MEASURED:
        return target
    return replace(target, device=replace(target.device, total_bytes=total_bytes))


def _starts(client: WorkerClient, targets: Sequence[Target], limits: Limits) -> list[int]:
    """Return the batch size that each target begins with; what shapes say of a config is asked for once."""
    asked: dict[tuple[int, int], tuple[int | None, ...]] = {}
    starts = []
    for target in targets:
        if limits.start is not None or target.config.mode is Mode.INFERENCE:
            starts.append(limits.start or limits.multiple_of)
            continue
        key = id(target.config), id(target.optimizer)
        if key not in asked:
            points = [(target.optimizer, units * limits.multiple_of) for units in (1, 2)]
            asked[key] = tuple(one.total_bytes for one in client.breakdowns(points, target.config))
        starts.append(_start(target.device.total_bytes, asked[key], limits))
    return starts


def _start(total_bytes: int | None, analytic_bytes: tuple[int | None, ...], limits: Limits) -> int:
    """Return the batch size to begin with: a prime, in units, so that what grows with the batch shows at once.

    `analytic_bytes` are the totals by shapes and dtypes of one unit and of two.
    """
    unit, (one, two) = limits.multiple_of, analytic_bytes
    if total_bytes is None or one is None or two is None:
        return unit
    available = min(_LIKELY_FREE * total_bytes, limits.memory_limit_bytes or total_bytes)
    units = 1 + max(0, int((available - one) / max(two - one, 1)))
    return unit * next(filter(is_informative, range(min(units // 2, _LARGEST_START), 0, -1)), 1)


class _Search:
    """One target's trials, in order: the edge, the footprint where there is none, 80 per cent, the confirming run."""

    def __init__(self, target: Target, limits: Limits, start: int, order: AddressPolicy) -> None:
        self.late = False
        self._target, self._limits, self._start = target, limits, start
        self._least = start if limits.start is not None else limits.multiple_of
        self._tries: dict[int, Trial] = {}
        self._more: dict[int, Trial] = {}
        self._phases: dict[int, Mapping[str, int]] = {}
        self._rehearsal = BatchExtrapolator(limits.multiple_of, order)
        self._rehearsed: dict[int | None, int | None] = {}  # by what may be held
        self._said: dict[int | None, int | None] = {}  # the same before the last try
        self._context_bytes = 0
        self._footprint: Trial | None = None
        self._confirmed: Status | None = None

    @property
    def begun(self) -> bool:
        """Whether there was a try already."""
        return bool(self._tries)

    def next_job(self) -> Job | None:
        """Return what to try next, or ``None`` where the search is at its end."""
        if self.late:
            return None
        if (size := self._next_size()) is not None:
            return self._job(size)
        if not self._edge().trains:
            return self._ample_job() if self._footprint is None else None
        if not self._target.extras:
            return None
        if (size := next_batch_size(self._samples_at_80(), self._bounds_at_80())) is not None:
            return self._job(size)
        safe = self._edge().trains * 8 // 10
        if self._confirmed is None and safe:
            return replace(self._job(safe), evaluate=True)
        return None

    def take(self, job: Job, outcome: Outcome, seconds: float) -> None:
        """Keep what became of `job`.

        Raises:
            WorkloadError: it was the smallest to try, and failed for another reason than memory.
        """
        stop = find_stop(outcome, self._limits.memory_limit_bytes is not None)
        if job.batch_size == self._least and stop not in (None, StopReason.MEMORY, StopReason.MEMORY_LIMIT):
            hint = "; --start begins with a larger batch" if job.batch_size == 1 else ""
            raise WorkloadError(f"{self._target.config.model.name}, batch {job.batch_size}: {outcome.error}{hint}")
        reading = outcome.reading
        if reading is not None and reading.context_bytes is not None:
            self._context_bytes = reading.context_bytes
        done = self._try(job, outcome, seconds)
        if job.evaluate:
            self._confirmed = outcome.status
        elif not self._edge().trains and self._next_size() is None:
            self._footprint = done
        else:
            trials = self._tries if self._next_size() == job.batch_size else self._more
            trials[job.batch_size] = done
            self._phases[job.batch_size] = _phase_peaks(reading)
            self._keep_moves(job, outcome, edge_found=trials is self._more)

    def _keep_moves(self, job: Job, outcome: Outcome, *, edge_found: bool) -> None:
        if outcome.allocator_requests is not None:
            self._rehearsal.add(job.batch_size, outcome.allocator_requests)
            self._said |= self._rehearsed
            # An edge that is found stays: it need not be acted out again for each try at 80 per cent.
            self._rehearsed = {None: self._rehearsed.get(None)} if edge_found else {}

    def answer(self) -> MaxBatch:
        """Return what the trials say so far."""
        edge, total = self._edge(), self._target.device.total_bytes
        largest = self._tries.get(edge.trains)
        held = largest.device_bytes if largest and largest.trains else None
        return MaxBatch(
            gpu=self._target.device.name,
            source=self._target.device.source,
            model=self._target.config.model.name,
            optimizer=self._target.optimizer.label if self._target.optimizer else None,
            gpu_total_bytes=total,
            memory_limit_bytes=self._limits.memory_limit_bytes,
            multiple_of=self._limits.multiple_of,
            largest_batch_size=edge.trains,
            verified=edge.fails is not None and self._next_size() is None,
            stopped_by=self._stopped_by(edge),
            batch_size_at_80_percent_memory=self._at_80(),
            confirmed=self._confirmed,
            fit=_fit([done for done in (*self._tries.values(), *self._more.values()) if done.trains]),
            free_bytes=None if held is None else self._memory_bytes() - held,
            smallest_footprint_bytes=_footprint(self._footprint),
            trials=tuple(self._tries.values()),
            more_trials=tuple(self._more.values()),
        )

    def _next_size(self) -> int | None:
        if self._tries and all(done.stop in _NOT_MEMORY for done in self._tries.values()):
            return self._least  # whether it is the size that fails, or the model
        return next_batch_size(self._samples(), self._bounds())

    def _edge(self) -> BatchBoundary:
        return find_boundary(self._samples())

    def _bounds(self) -> Bounds:
        limits = self._limits
        return Bounds(
            available_bytes=self._room(),
            start=self._start,
            most=limits.most,
            multiple_of=limits.multiple_of,
            rehearsed=self._rehearse(None),
        )

    def _room(self) -> int:
        """What the allocator can have: the GPU without the context, or the limit."""
        room, cap = (self._target.device.total_bytes or 0) - self._context_bytes, self._limits.memory_limit_bytes
        return room if cap is None else min(cap, room)

    def _rehearse(self, held_bytes: int | None) -> int | None:
        if held_bytes not in self._rehearsed:
            near = self._said.get(held_bytes)
            self._rehearsed[held_bytes] = self._rehearsal.largest_that_fits(self._room(), held_bytes, near)
        return self._rehearsed[held_bytes]

    def _samples(self) -> list[TrialFigures]:
        return [
            TrialFigures(
                batch_size=size,
                trains=done.trains,
                needs_bytes=self._phases[size] if done.trains else {},
                held_bytes=done.peak_reserved_bytes if done.trains else None,
            )
            for size, done in self._tries.items()
        ]

    def _memory_bytes(self) -> int:
        """The memory of the GPU, or of the limit with the context that it does not count."""
        total, cap = self._target.device.total_bytes or 0, self._limits.memory_limit_bytes
        return total if cap is None else min(cap + self._context_bytes, total)

    def _bounds_at_80(self) -> Bounds:
        most, guided = self._edge().trains, len(self._tries) + _GUIDED_AT_80
        available = self._memory_bytes() * 8 // 10
        rehearsed = self._rehearse(available - self._context_bytes)
        return replace(self._bounds(), available_bytes=available, most=most, guided_tries=guided, rehearsed=rehearsed)

    def _samples_at_80(self) -> list[TrialFigures]:
        """All trials again, held against 0.8 of the memory by what they made the device hold."""
        most = self._memory_bytes() * 8 // 10
        return [
            TrialFigures(
                batch_size=size,
                trains=done.trains and (done.device_bytes or 0) <= most,
                needs_bytes={"device": done.device_bytes or 0} if done.trains else {},
                held_bytes=done.device_bytes if done.trains else None,
            )
            for size, done in {**self._tries, **self._more}.items()
        ]

    def _at_80(self) -> int | None:
        samples = self._samples_at_80()
        if not self._target.extras or next_batch_size(samples, self._bounds_at_80()) is not None:
            return None
        return find_boundary(samples).trains

    def _stopped_by(self, edge: BatchBoundary) -> StopReason:
        if self.late and self._next_size() is not None:
            return StopReason.TIME
        failed = self._tries.get(edge.fails) if edge.fails is not None else None
        return failed.stop or StopReason.ERROR if failed else StopReason.MAX

    def _job(self, size: int) -> Job:
        device = self._target.device
        return Job(
            config=self._target.config,
            optimizer=self._target.optimizer,
            batch_size=size,
            index=device.index,
            environment=dict(device.environment),
            memory_limit_bytes=self._limits.memory_limit_bytes,
            steps=STEPS,
            record_requests=True,
        )

    def _ample_job(self) -> Job | None:
        """The smallest batch where memory does not matter: a phantom with plenty, or a real GPU without the limit."""
        job = self._job(self._limits.multiple_of)
        if self._target.device.source is Source.EMULATED:
            spec = replace(find_gpu(self._target.device.name), total_bytes=_AMPLE_BYTES, nvml_total_bytes=None)
            environment = {**job.environment, "MEMPROF_PHANTOM": describe_gpu(spec)}
            return replace(job, environment=environment, memory_limit_bytes=None)
        return replace(job, memory_limit_bytes=None) if job.memory_limit_bytes is not None else None

    def _try(self, job: Job, outcome: Outcome, seconds: float) -> Trial:
        reading = outcome.reading
        reserved = reading.peak_reserved_bytes if reading else None
        context = reading.context_bytes if reading else None
        return Trial(
            batch_size=job.batch_size,
            status=outcome.status,
            peak_allocated_bytes=reading.peak_allocated_bytes if reading else None,
            peak_reserved_bytes=reserved,
            device_bytes=None if reserved is None else reserved + (context or 0),
            seconds=seconds,
            stop=find_stop(outcome, job.memory_limit_bytes is not None),
            error=outcome.error,
        )


def _phase_peaks(reading: Reading | None) -> Mapping[str, int]:
    """The peak of each phase over all steps: each grows with the batch in a line of its own."""
    peaks = {phase.value: reading.phase_peak_bytes(phase) for phase in Phase} if reading else {}
    return {name: peak for name, peak in peaks.items() if peak is not None}


def _footprint(smallest: Trial | None) -> int | None:
    return smallest.device_bytes if smallest is not None and smallest.trains else None


def _fit(trained: Sequence[Trial]) -> MemoryFit | None:
    line = fit_line([(t.batch_size, t.peak_allocated_bytes) for t in trained if t.peak_allocated_bytes is not None])
    if line is None:
        return None
    fixed, slope, residual = (round(number) for number in line)
    return MemoryFit(fixed_bytes=fixed, bytes_per_sample=slope, residual_bytes=residual)
