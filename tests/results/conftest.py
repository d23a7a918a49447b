from collections.abc import Callable
from typing import Any

import pytest

from memprof.records import (
    Breakdown,
    Environment,
    Phase,
    PhaseReading,
    Reading,
    RunRecord,
    Source,
    Status,
    StepReading,
)
from memprof.results import Manifest
from tests.samples import sample_environment


def _phase(phase: Phase, peak_bytes: int) -> PhaseReading:
    return PhaseReading(
        phase=phase,
        allocated_before_bytes=0,
        peak_allocated_bytes=peak_bytes,
        allocated_after_bytes=0,
        peak_requested_bytes=peak_bytes,
        peak_reserved_bytes=peak_bytes,
    )


@pytest.fixture
def environment() -> Environment:
    return sample_environment(gpu="NVIDIA H100 80GB HBM3")


@pytest.fixture
def make_record(environment: Environment) -> Callable[..., RunRecord]:
    """A record of Adam at batch size 64 whose phases peak at 1,000 to 4,000 bytes, with `changes`."""
    peaks = {Phase.FORWARD: 1_000, Phase.LOSS: 2_000, Phase.BACKWARD: 4_000, Phase.OPTIMIZER: 3_000}
    step = StepReading(phases=tuple(_phase(phase, peak) for phase, peak in peaks.items()), seconds=None)
    reading = Reading(
        steps=(step, step),
        peak_allocated_bytes=4_000,
        peak_requested_bytes=3_900,
        peak_reserved_bytes=2_097_152,
        nvml_used_bytes=None,
        context_bytes=None,
        inactive_split_bytes=0,
        allocation_retries=0,
        workspace_known=True,
    )
    breakdown = Breakdown(
        parameters_bytes=1_000,
        buffers_bytes=0,
        gradients_bytes=1_000,
        optimizer_state_bytes=2_000,
        input_bytes=500,
        activations_bytes=1_500,
    )

    def make(**changes: Any) -> RunRecord:
        fields: dict[str, Any] = {
            "model": "mnist_mlp",
            "optimizer": "adam",
            "precision": "fp32",
            "mode": "train",
            "batch_size": 64,
            "source": Source.EMULATED,
            "status": Status.OK,
            "environment": environment,
            "breakdown": breakdown,
            "reading": reading,
        }
        return RunRecord(**(fields | changes))

    return make


@pytest.fixture
def make_manifest(environment: Environment) -> Callable[..., Manifest]:
    def make(**changes: Any) -> Manifest:
        fields: dict[str, Any] = {
            "name": "mnist_mlp",
            "fingerprint": "abc",
            "config": {"name": "mnist_mlp", "batch_sizes": [64, 256]},
            "environment": environment,
            "command": ("memprof", "sweep", "configs/mnist_mlp.yaml"),
            "points_planned": 2,
            "started": "2026-11-22T01:42:00Z",
        }
        return Manifest(**(fields | changes))

    return make
