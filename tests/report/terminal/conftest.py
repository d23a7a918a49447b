from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

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
from memprof.results import Manifest, Result
from memprof.results.diff import Comparison, compare_results
from tests.samples import sample_environment

MIB = 1024**2
OUT_OF_MEMORY = (
    "CUDA out of memory. Tried to allocate 392.00 MiB. GPU 0 has a total capacity of 79.18 GiB of which "
    "152.19 MiB is free. Of the allocated memory 78.30 GiB is allocated by PyTorch."
)


@pytest.fixture
def show() -> Callable[[RenderableType, int], str]:
    """Render for a terminal of a given width, without colors."""

    def render(renderable: RenderableType, width: int) -> str:
        console = Console(width=width, color_system=None, force_terminal=True)
        with console.capture() as capture:
            console.print(renderable)
        return "\n".join(line.rstrip() for line in capture.get().splitlines())

    return render


@pytest.fixture
def environment() -> Environment:
    return sample_environment(torch_version="2.14.1+cu130", gpu="NVIDIA H100 80GB HBM3")


@pytest.fixture
def make_record(environment: Environment) -> Callable[..., RunRecord]:
    """A record whose peak lies 64 MiB above the analytic total, in backward; `changes` replace fields."""

    def make(optimizer: str | None, states: int, batch_size: int, **changes: Any) -> RunRecord:
        breakdown = Breakdown(
            parameters_bytes=407_080,
            buffers_bytes=0,
            gradients_bytes=407_080,
            optimizer_state_bytes=states * 407_080,
            input_bytes=batch_size * 3_144,
            activations_bytes=batch_size * 512,
            workspace_bytes=0,
        )
        total = breakdown.total_bytes
        assert total is not None
        record = RunRecord(
            model="mnist_mlp",
            optimizer=optimizer,
            precision="fp32",
            mode="train",
            batch_size=batch_size,
            source=Source.EMULATED,
            status=Status.OK,
            environment=environment,
            breakdown=breakdown,
            reading=_reading(total + 64 * MIB),
        )
        return replace(record, **changes)

    return make


def _reading(peak_bytes: int) -> Reading:
    peaks = {Phase.FORWARD: 2 * MIB, Phase.LOSS: MIB, Phase.BACKWARD: 0, Phase.OPTIMIZER: 3 * MIB}
    phases = tuple(
        PhaseReading(
            phase=phase,
            allocated_before_bytes=0,
            peak_allocated_bytes=peak_bytes - below_bytes,
            allocated_after_bytes=0,
            peak_requested_bytes=peak_bytes - below_bytes,
            peak_reserved_bytes=88_080_384,
        )
        for phase, below_bytes in peaks.items()
    )
    return Reading(
        steps=(StepReading(phases=phases, seconds=None),) * 3,
        peak_allocated_bytes=peak_bytes,
        peak_requested_bytes=peak_bytes - 512,
        peak_reserved_bytes=88_080_384,
        nvml_used_bytes=675_282_944,
        context_bytes=587_202_560,
        inactive_split_bytes=0,
        allocation_retries=0,
        workspace_known=True,
    )


@pytest.fixture
def sweep(make_record: Callable[..., RunRecord]) -> Sequence[RunRecord]:
    """Three optimizers at four batch sizes; one row was killed, one ran out of memory."""
    states = {"sgd": 0, "sgd+momentum": 1, "adam": 2}
    sizes = (64, 256, 1024, 4096)
    records = [make_record(name, kept, size) for name, kept in states.items() for size in sizes]
    killed = "the worker was killed by signal 9"
    records[5] = replace(records[5], status=Status.KILLED, reading=None, error=killed)
    records[11] = replace(records[11], status=Status.OOM, error=OUT_OF_MEMORY)
    return records


@pytest.fixture
def comparison(make_record: Callable[..., RunRecord]) -> Comparison:
    rows = [make_record("sgd", 0, 64), make_record("sgd", 0, 256), make_record("adam", 2, 64)]
    grown = make_record("adam", 4, 64)
    killed = replace(rows[1], status=Status.OOM)
    return compare_results(
        save_as("results/mnist_mlp/20261122-014200", *rows),
        save_as("results/mnist_mlp/20261123-014200", rows[0], killed, grown, make_record("adam", 2, 256)),
    )


def save_as(path: str, *records: RunRecord, **changes: Any) -> Result:
    """A finished sweep at `path`; `changes` are of its environment."""
    manifest = Manifest(
        name="mnist_mlp",
        fingerprint="abc",
        config={"steps": len(records)},
        environment=replace(records[0].environment, **changes),
        command=("memprof",),
        points_planned=3,
        started="2026-11-22T01:42:00Z",
    )
    return Result(path=Path(path), manifest=manifest, records=records)
