"""Saved results with round figures; no run produced them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from memprof.breakdown.explanation import Explained
from memprof.records import Reading, RunRecord, Status
from memprof.results import Kind, Result, VariantPlan
from memprof.units import GIB, MIB
from tests.report.plots.explained import sample_explained
from tests.samples import sample_breakdown, sample_environment, sample_reading, sample_record, sample_result

MakeRecord = Callable[..., RunRecord]
GPU_BYTES = 16 * GIB


@pytest.fixture
def make_record() -> MakeRecord:
    """A record with 100 MiB of parameters and 10 MiB of activations per sample; peak 50 MiB above the estimate."""

    def make(optimizer: str | None, batch_size: int, **changes: Any) -> RunRecord:
        states = {"sgd": 0, "adam": 2}.get(optimizer or "", 0)
        breakdown = sample_breakdown(
            parameters_bytes=100 * MIB,
            gradients_bytes=100 * MIB,
            optimizer_state_bytes=states * 100 * MIB,
            input_bytes=batch_size * MIB,
            activations_bytes=batch_size * 10 * MIB,
        )
        total = breakdown.total_bytes
        assert total is not None
        record = sample_record(
            model="plain_cnn",
            optimizer=optimizer,
            batch_size=batch_size,
            environment=sample_environment(gpu="v100-16gb", gpu_total_bytes=GPU_BYTES),
            breakdown=breakdown,
            reading=_reading(total + 50 * MIB),
        )
        return replace(record, **changes)

    return make


def _reading(peak_bytes: int) -> Reading:
    return sample_reading(
        steps=(),
        peak_allocated_bytes=peak_bytes,
        peak_requested_bytes=peak_bytes,
        peak_reserved_bytes=peak_bytes + 20 * MIB,
    )


@pytest.fixture
def sweep(make_record: MakeRecord) -> list[RunRecord]:
    """SGD and Adam at five batch sizes; the largest runs out of memory with both, and one run was killed."""
    records = [make_record(name, size) for name in ("sgd", "adam") for size in (16, 64, 256, 1024, 4096)]
    records[4] = replace(records[4], status=Status.OOM, error="CUDA out of memory.")
    records[9] = replace(records[9], status=Status.OOM, error="CUDA out of memory.")
    records[6] = replace(records[6], status=Status.KILLED, reading=None, error="the worker was killed by signal 9")
    return records


@pytest.fixture
def comparison(make_record: MakeRecord) -> Result:
    """Two optimizers and two precisions at batch 64, one of which failed."""
    failed = replace(make_record("sgd", 64, precision="fp64"), status=Status.ERROR, reading=None, error="no kernel")
    rows = {
        ("base: optimizer=sgd, precision=fp32", "base"): make_record("sgd", 64),
        ("optimizer", "adam"): make_record("adam", 64),
        ("precision", "fp64"): failed,
    }
    plans = tuple(
        VariantPlan(label=name, group=group, name=name, settings={"optimizer": name}, config={}) for group, name in rows
    )
    return saved(list(rows.values()), kind=Kind.COMPARE, variants=plans)


@pytest.fixture
def explained() -> Explained:
    return sample_explained()


def saved(records: Sequence[RunRecord], **changes: Any) -> Result:
    """The records as a loaded result."""
    changes = {"name": "plain_cnn", "points_planned": len(records), **changes}
    return sample_result(*records, path="results/plain_cnn/20261122-030220", **changes)
