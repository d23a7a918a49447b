"""The peaks of training steps, without the evaluation that the last step of an epoch contains too."""

from __future__ import annotations

from collections.abc import Iterable

from memprof.records import Phase, PhaseReading, StepReading


def training_phases(steps: Iterable[StepReading]) -> list[PhaseReading]:
    """Return the phases of training in `steps`."""
    return [phase for step in steps for phase in step.phases if phase.phase is not Phase.EVALUATION]


def peak_allocated(steps: Iterable[StepReading]) -> int:
    """Return the highest allocated bytes of training in `steps`; 0 without a step."""
    return max((phase.peak_allocated_bytes for phase in training_phases(steps)), default=0)


def peak_requested(steps: Iterable[StepReading]) -> int:
    """Return the highest requested bytes of training in `steps`; 0 without a step."""
    return max((phase.peak_requested_bytes for phase in training_phases(steps)), default=0)


def peak_reserved(steps: Iterable[StepReading]) -> int:
    """Return the highest reserved bytes of training in `steps`; 0 without a step."""
    return max((phase.peak_reserved_bytes for phase in training_phases(steps)), default=0)
