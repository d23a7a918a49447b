"""The trials of one search: what each was for, how it ended, and what it says for the search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto

from memprof.experiments.max_batch.boundary import TrialFigures
from memprof.experiments.max_batch.limits import find_stop
from memprof.gpus.catalog import find_gpu
from memprof.gpus.phantom.environment import describe_gpu
from memprof.records import Outcome, Phase, Reading, Source, StopReason, Trial
from memprof.worker.protocol import Job

MEMORY_STOPS = (StopReason.MEMORY, StopReason.MEMORY_LIMIT)
_AMPLE_BYTES = 2**42  # 4 TiB, of a phantom on which the smallest batch is weighed: more than any GPU has


class Purpose(Enum):
    """What a trial is for."""

    BOUNDARY = auto()  # the largest batch that trains
    FOOTPRINT = auto()  # what the smallest batch takes, if no batch trains
    AT_80_PERCENT = auto()  # a batch that takes at most 80 % of the memory, and hardly less
    CONFIRMATION = auto()  # the safe batch, with an evaluation pass


@dataclass(frozen=True, kw_only=True)
class PlannedTrial:
    """A job and what it is for."""

    purpose: Purpose
    job: Job


@dataclass(frozen=True, kw_only=True)
class RanTrial:
    """A trial that ran, with the peak of each phase over all steps: each grows along a line of its own."""

    trial: Trial
    phase_peaks: Mapping[str, int]

    def figures(self) -> TrialFigures:
        """Return what it says about the boundary."""
        trial = self.trial
        return TrialFigures(
            batch_size=trial.batch_size,
            trains=trial.trains,
            lacks_memory=_lacks_memory(trial),
            needs_bytes=self.phase_peaks if trial.trains else {},
            held_bytes=trial.peak_reserved_bytes if trial.trains else None,
        )

    def figures_within(self, most_bytes: int) -> TrialFigures:
        """Return what it says about the batch for which the device holds at most `most_bytes`."""
        trial, held_bytes = self.trial, self.trial.device_bytes or 0
        return TrialFigures(
            batch_size=trial.batch_size,
            trains=trial.trains and held_bytes <= most_bytes,
            lacks_memory=trial.trains or _lacks_memory(trial),
            needs_bytes={"device": held_bytes} if trial.trains else {},
            held_bytes=trial.device_bytes if trial.trains else None,
        )


def ran_trial(job: Job, outcome: Outcome, seconds: float) -> RanTrial:
    """Return the trial that ended with `outcome` after `seconds` of wall time."""
    reading = outcome.reading
    trial = Trial(
        batch_size=job.batch_size,
        status=outcome.status,
        peak_allocated_bytes=reading.peak_allocated_bytes if reading else None,
        peak_reserved_bytes=reading.peak_reserved_bytes if reading else None,
        device_bytes=reading.device_bytes if reading else None,
        seconds=seconds,
        stop=find_stop(outcome, job.memory_limit_bytes is not None),
        error=outcome.error,
    )
    return RanTrial(trial=trial, phase_peaks=_phase_peaks(reading))


def without_limit(job: Job, gpu: str, source: Source) -> Job | None:
    """Return the job with as much memory as it takes: a phantom with plenty, or a real GPU without the limit.

    ``None`` if a real GPU had no limit.
    """
    if source is Source.EMULATED:
        spec = replace(find_gpu(gpu), total_bytes=_AMPLE_BYTES, nvml_total_bytes=None)
        environment = {**job.environment, "MEMPROF_PHANTOM": describe_gpu(spec)}
        return replace(job, environment=environment, memory_limit_bytes=None)
    return replace(job, memory_limit_bytes=None) if job.memory_limit_bytes is not None else None


def _lacks_memory(trial: Trial) -> bool:
    return trial.stop in MEMORY_STOPS


def _phase_peaks(reading: Reading | None) -> Mapping[str, int]:
    peaks = {phase.value: reading.phase_peak_bytes(phase) for phase in Phase} if reading else {}
    return {name: peak for name, peak in peaks.items() if peak is not None}
