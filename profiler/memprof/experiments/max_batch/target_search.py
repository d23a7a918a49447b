"""The search for one target: which trials it needs, one after the other, and the answer that they give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from memprof.allocator.address_order import AddressPolicy
from memprof.allocator.extrapolate import AllocatorBudget, BatchExtrapolator
from memprof.allocator.growth import RecordedRun
from memprof.config.schema import SweepConfig
from memprof.errors import WorkloadError
from memprof.experiments.max_batch.boundary import BatchBoundary, TrialFigures, find_boundary
from memprof.experiments.max_batch.lines import fit_line
from memprof.experiments.max_batch.predictor import RunPredictor
from memprof.experiments.max_batch.situation import Bounds, Start, StartOrigin
from memprof.experiments.max_batch.strategy import next_batch_size
from memprof.experiments.max_batch.target import DeviceMemory, Limits, Target
from memprof.experiments.max_batch.trials import (
    MEMORY_STOPS,
    PlannedTrial,
    Purpose,
    RanTrial,
    ran_trial,
    without_limit,
)
from memprof.records import MaxBatch, MemoryFit, Outcome, Status, StopReason, Trial, safe_batch_size
from memprof.worker.protocol import Job

_GUIDED_TRIALS = 8  # for the boundary: the lines of three phases take five, and two trials verify it
_GUIDED_AT_80 = 6  # more for the batch at 80 %, whose lines are known already
# The batch at 80 % may take 1 % less memory, or be 1 % smaller than one that takes more; each trial for it doubles
# both. The bytes that a step holds do not grow evenly, since cuDNN's workspaces differ from one batch size to the next:
# an exact limit would mean little.
_TOLERANCE_AT_80 = 0.01


class TargetSearch:
    """The trials of one target. `planned` is the next one, or ``None`` at the end; `take` brings its outcome."""

    def __init__(
        self, target: Target, limits: Limits, start: Start, addresses: AddressPolicy, known: TargetSearch | None = None
    ) -> None:
        """Plan the first trial: at `start`, or at the limit that the runs of `known`, a search like this, predict."""
        self.is_late = False  # the time limit of the search is over
        self._target, self._limits, self._start = target, limits, start
        total_bytes = target.device.total_bytes or 0
        self._memory = DeviceMemory(total_bytes=total_bytes, limit_bytes=limits.memory_limit_bytes)
        self._ran: dict[Purpose, dict[int, RanTrial]] = {purpose: {} for purpose in Purpose}
        self._runs = BatchExtrapolator(limits.multiple_of, addresses)
        if known is not None:
            self._learn_from(known)
        self._nccl: tuple[int | None, int | None] = None, None  # communicators, and their bytes
        self._zeros_read: int | None = None
        self._has_boundary = False
        self._at_80_percent: int | None = None
        self._plan = self._planned_trials()
        self.planned: PlannedTrial | None = next(self._plan)

    @property
    def gpu(self) -> str:
        """The name of the GPU."""
        return self._target.device.name

    @property
    def config(self) -> SweepConfig:
        """The config of its trials; each runs on all ranks that it names."""
        return self._target.config

    @property
    def has_begun(self) -> bool:
        """Whether there was a trial already."""
        return bool(self._ran[Purpose.BOUNDARY])

    @property
    def has_ended(self) -> bool:
        """Whether no trial is left to run."""
        return self.planned is None or self.is_late

    @property
    def has_boundary(self) -> bool:
        """Whether all trials for the largest batch have run."""
        return self._has_boundary

    def _learn_from(self, known: TargetSearch) -> None:
        for run in known._runs:
            self._runs.add(run)
        self._memory = replace(self._memory, context_bytes=known._memory.context_bytes)
        budget = AllocatorBudget(available_bytes=self._memory.allocator_bytes)
        if self._limits.start is None and (predicted := self._runs.largest_that_fits(budget)):
            self._start = Start(batch_size=predicted, origin=StartOrigin.PREDICTED)

    def take(self, planned: PlannedTrial, outcome: Outcome, seconds: float) -> None:
        """Keep the outcome of `planned`, and plan the next trial.

        Raises:
            WorkloadError: it was the smallest to try, and failed for another reason than memory.
        """
        job, ran = planned.job, ran_trial(planned.job, outcome, seconds)
        if job.batch_size == self._limits.smallest and not ran.trial.trains and ran.trial.stop not in MEMORY_STOPS:
            hint = "; --start begins with a larger batch" if job.batch_size == 1 else ""
            raise WorkloadError(f"{self._target.config.model.name}, batch {job.batch_size:,}: {outcome.error}{hint}")
        if outcome.reading is not None and outcome.reading.context_bytes is not None:
            self._memory = replace(self._memory, context_bytes=outcome.reading.context_bytes)
        if outcome.reading is not None and outcome.reading.zeros_read is not None:
            self._zeros_read = (self._zeros_read or 0) + outcome.reading.zeros_read
        if outcome.reading is not None and outcome.reading.communicators is not None:
            self._nccl = outcome.reading.communicators, outcome.reading.nccl_bytes
        self._ran[planned.purpose][job.batch_size] = ran
        if planned.purpose in (Purpose.BOUNDARY, Purpose.AT_80_PERCENT):
            self._record(job, outcome)
        self.planned = next(self._plan, None)

    def _record(self, job: Job, outcome: Outcome) -> None:
        if outcome.allocator_requests is None:
            return
        run = RecordedRun(
            batch_size=job.batch_size,
            requests=outcome.allocator_requests,
            refused=frozenset(outcome.refused_requests),
            complete=outcome.status is Status.OK,
        )
        self._runs.add(run)

    def _planned_trials(self) -> Iterator[PlannedTrial]:
        """Yield the trials in order; each is taken before the next is asked for."""
        while (size := next_batch_size(self._boundary_figures(), self._bounds())) is not None:
            yield self._trial(Purpose.BOUNDARY, size)
        self._has_boundary = True
        largest = self._boundary().trains
        if not largest:
            smallest = self._target.job(self._limits.multiple_of, self._limits)
            if (job := without_limit(smallest, self._target.device.name, self._target.device.source)) is not None:
                yield PlannedTrial(purpose=Purpose.FOOTPRINT, job=job)
        elif self._target.extras:
            yield from self._extra_trials(largest)

    def _extra_trials(self, largest: int) -> Iterator[PlannedTrial]:
        while not self._is_near_80_percent():
            size = next_batch_size(self._figures_at_80_percent(), self._bounds_at_80_percent(largest))
            if size is None:
                break
            yield self._trial(Purpose.AT_80_PERCENT, size)
        self._at_80_percent = find_boundary(self._figures_at_80_percent()).trains
        if safe := safe_batch_size(largest, self._limits.multiple_of):
            trial = self._trial(Purpose.CONFIRMATION, safe)
            yield replace(trial, job=replace(trial.job, evaluate=True))

    def _trial(self, purpose: Purpose, batch_size: int) -> PlannedTrial:
        return PlannedTrial(purpose=purpose, job=self._target.job(batch_size, self._limits))

    def _boundary(self) -> BatchBoundary:
        return find_boundary(self._boundary_figures())

    def _boundary_figures(self) -> list[TrialFigures]:
        return [ran.figures() for ran in self._ran[Purpose.BOUNDARY].values()]

    def _bounds(self) -> Bounds:
        available_bytes = self._memory.allocator_bytes
        return Bounds(
            available_bytes=available_bytes,
            start=self._start.batch_size,
            start_origin=self._start.origin,
            smallest=self._limits.smallest,
            most=self._limits.most,
            multiple_of=self._limits.multiple_of,
            predictor=self._predictor(AllocatorBudget(available_bytes=available_bytes)),
            guided_trials=_GUIDED_TRIALS,
        )

    def _figures_at_80_percent(self) -> list[TrialFigures]:
        most_bytes = self._memory.usable_bytes_at_80_percent
        found = {**self._ran[Purpose.BOUNDARY], **self._ran[Purpose.AT_80_PERCENT]}
        return [ran.figures_within(most_bytes) for ran in found.values()]

    def _is_near_80_percent(self) -> bool:
        figures = self._figures_at_80_percent()
        boundary, most_bytes = find_boundary(figures), self._memory.usable_bytes_at_80_percent
        tolerance = _TOLERANCE_AT_80 * 2 ** len(self._ran[Purpose.AT_80_PERCENT])
        if boundary.fails is not None and boundary.fails - boundary.trains <= tolerance * boundary.trains:
            return True
        held = [sample.held_bytes for sample in figures if sample.batch_size == boundary.trains]
        return any((size or 0) >= (1 - tolerance) * most_bytes for size in held)

    def _bounds_at_80_percent(self, largest: int) -> Bounds:
        memory = self._memory
        held_bytes = memory.usable_bytes_at_80_percent - memory.context_bytes
        budget = AllocatorBudget(available_bytes=memory.allocator_bytes, held_bytes=held_bytes)
        return replace(
            self._bounds(),
            available_bytes=memory.usable_bytes_at_80_percent,
            most=largest,
            predictor=self._predictor(budget),
            guided_trials=len(self._ran[Purpose.BOUNDARY]) + _GUIDED_AT_80,
        )

    def _predictor(self, budget: AllocatorBudget) -> RunPredictor | None:
        return RunPredictor(runs=self._runs, budget=budget) if self._runs.is_informed else None

    def answer(self) -> MaxBatch:
        """Return what the trials show so far."""
        boundary, target, limits = self._boundary(), self._target, self._limits
        trials, more = self._trials(Purpose.BOUNDARY), self._trials(Purpose.AT_80_PERCENT)
        return MaxBatch(
            gpu=target.device.name,
            source=target.device.source,
            model=target.config.model.name,
            optimizer=target.optimizer.label if target.optimizer else None,
            gpu_total_bytes=target.device.total_bytes,
            memory_limit_bytes=limits.memory_limit_bytes,
            multiple_of=limits.multiple_of,
            largest_batch_size=boundary.trains,
            verified=boundary.fails is not None and self._has_boundary,
            stopped_by=self._stopped_by(boundary),
            batch_size_at_80_percent_memory=self._at_80_percent,
            confirmed=next((trial.status for trial in self._trials(Purpose.CONFIRMATION)), None),
            fit=_fit([trial for trial in (*trials, *more) if trial.trains]),
            free_bytes=self._free_bytes(boundary.trains),
            smallest_footprint_bytes=self._footprint_bytes(),
            trials=trials,
            more_trials=more,
            parallel=target.config.parallel.label if target.config.parallel else None,
            evaluates=target.config.can_evaluate,
            zeros_read=self._zeros_read,
            communicators=self._nccl[0],
            nccl_bytes=self._nccl[1],
        )

    def _trials(self, purpose: Purpose) -> tuple[Trial, ...]:
        return tuple(ran.trial for ran in self._ran[purpose].values())

    def _stopped_by(self, boundary: BatchBoundary) -> StopReason:
        if self.is_late and not self._has_boundary:
            return StopReason.TIME
        failed = self._ran[Purpose.BOUNDARY].get(boundary.fails or 0)
        return failed.trial.stop or StopReason.ERROR if failed else StopReason.MAX

    def _free_bytes(self, largest: int) -> int | None:
        ran = self._ran[Purpose.BOUNDARY].get(largest)
        held_bytes = ran.trial.device_bytes if ran else None
        return None if held_bytes is None else self._memory.usable_bytes - held_bytes

    def _footprint_bytes(self) -> int | None:
        found = (trial.device_bytes for trial in self._trials(Purpose.FOOTPRINT) if trial.trains)
        return next(found, None)


def _fit(trained: Sequence[Trial]) -> MemoryFit | None:
    line = fit_line([(t.batch_size, t.peak_allocated_bytes) for t in trained if t.peak_allocated_bytes is not None])
    if line is None:
        return None
    fixed, slope, residual = (round(number) for number in line)
    return MemoryFit(fixed_bytes=fixed, bytes_per_sample=slope, residual_bytes=residual)
