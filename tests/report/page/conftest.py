"""Saved results that no run made, of every kind and alike, for a page to be made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memprof.breakdown.explanation import Explained
from memprof.records import MaxBatch, MemoryFit, RunRecord, Source, Status, StopReason, Trial
from memprof.results import Kind, Manifest, ResultFolder, VariantPlan, save_document
from memprof.units import GIB, MIB
from tests.samples import sample_explained

Save = Callable[..., Path]


@pytest.fixture
def explained() -> Explained:
    return sample_explained()


@pytest.fixture
def manifest(explained: Explained) -> Callable[..., Manifest]:
    """A manifest of a kind, with `changes`; those of one test are alike."""

    def make(kind: Kind, **changes: Any) -> Manifest:
        made = Manifest(
            kind=kind,
            name="sample",
            fingerprint="0123456789abcdef",
            config={"name": "sample", "model": {"name": explained.record.model}, "precision": "fp32", "mode": "train"},
            environment=explained.record.environment,
            command=("memprof", kind.value, "configs/sample.yaml"),
            points_planned=1,
        )
        return replace(made, **changes)

    return make


@pytest.fixture
def records() -> list[RunRecord]:
    """Two optimizers at three batch sizes, the largest out of memory."""
    sizes = {size: sample_explained(size).record for size in (64, 256, 1024)}
    rows = [replace(record, optimizer=name) for name in ("adam", "sgd") for record in sizes.values()]
    return [
        replace(row, status=Status.OOM, error="CUDA out of memory.") if row.batch_size == 1024 else row for row in rows
    ]


@pytest.fixture
def max_batch(explained: Explained) -> MaxBatch:
    environment = explained.record.environment
    trials = tuple(
        Trial(
            batch_size=size,
            status=Status.OK if size <= 600 else Status.OOM,
            peak_allocated_bytes=size * 100 * MIB,
            peak_reserved_bytes=size * 101 * MIB,
            device_bytes=size * 101 * MIB + GIB,
            seconds=0.2,
            stop=None if size <= 600 else StopReason.MEMORY,
            error=None if size <= 600 else "CUDA out of memory.",
        )
        for size in (300, 600, 601)
    )
    return MaxBatch(
        gpu=str(environment.gpu),
        source=Source.EMULATED,
        model=explained.record.model,
        optimizer="adam",
        gpu_total_bytes=environment.gpu_total_bytes,
        memory_limit_bytes=None,
        multiple_of=1,
        largest_batch_size=600,
        verified=True,
        stopped_by=StopReason.MEMORY,
        batch_size_at_80_percent_memory=480,
        confirmed=Status.OK,
        fit=MemoryFit(fixed_bytes=GIB, bytes_per_sample=100 * MIB, residual_bytes=0),
        free_bytes=MIB,
        smallest_footprint_bytes=None,
        trials=trials,
        more_trials=(),
    )


@pytest.fixture
def saved(
    tmp_path: Path,
    manifest: Callable[..., Manifest],
    records: list[RunRecord],
    explained: Explained,
    max_batch: MaxBatch,
) -> Path:
    """The root of results with an answer of each kind about one config."""
    root = tmp_path / "results"
    save_sweep(root, manifest(Kind.SWEEP, started="2026-11-25T10:00:00Z"), records)
    save_document(root, manifest(Kind.EXPLAIN, started="2026-11-25T11:00:00Z"), explained)
    save_document(root, manifest(Kind.MAX_BATCH, started="2026-11-25T12:00:00Z"), [max_batch])
    compared = manifest(Kind.COMPARE, started="2026-11-25T13:00:00Z", variants=(plan("adam"), plan("sgd")))
    rows = [replace(records[0], variant="base"), replace(records[3], variant="optimizer=sgd")]
    save_sweep(root, compared, rows)
    return root


def plan(optimizer: str) -> VariantPlan:
    """One of two optimizers compared, Adam being the base."""
    return VariantPlan(
        label="base" if optimizer == "adam" else f"optimizer={optimizer}",
        group="base: optimizer=adam" if optimizer == "adam" else "optimizer",
        name="base" if optimizer == "adam" else optimizer,
        settings={"optimizer": optimizer},
        config={},
    )


def save_sweep(root: Path, manifest: Manifest, records: list[RunRecord]) -> Path:
    folder = ResultFolder.create(root, manifest)
    for record in records:
        folder.append(record)
    folder.finish()
    return folder.path
