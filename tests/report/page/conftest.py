"""Saved results of every kind that match, for one page; no run produced them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memprof.breakdown.explanation import Explained
from memprof.records import MaxBatch, RunRecord, Status
from memprof.report.page.elements import Table
from memprof.results import Kind, Manifest, ResultFolder, VariantPlan, save_document
from tests.samples import OUT_OF_MEMORY, sample_explained, sample_manifest, sample_max_batch

Save = Callable[..., Path]


@pytest.fixture
def explained() -> Explained:
    return sample_explained()


@pytest.fixture
def manifest(explained: Explained) -> Callable[..., Manifest]:
    """A manifest of a kind, with `changes`; the manifests of one test match."""

    def make(kind: Kind, **changes: Any) -> Manifest:
        config = {"name": "sample", "model": {"name": explained.record.model}, "precision": "fp32", "mode": "train"}
        made = sample_manifest(
            kind=kind,
            name="sample",
            config=config,
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
    return [replace(row, status=Status.OOM, error=OUT_OF_MEMORY) if row.batch_size == 1024 else row for row in rows]


@pytest.fixture
def max_batch() -> MaxBatch:
    return sample_max_batch()


@pytest.fixture
def saved(
    tmp_path: Path,
    manifest: Callable[..., Manifest],
    records: list[RunRecord],
    explained: Explained,
    max_batch: MaxBatch,
) -> Path:
    """The root of results with one result of each kind about one config."""
    root = tmp_path / "results"
    save_sweep(root, manifest(Kind.SWEEP, started="2026-11-25T10:00:00Z"), records)
    save_document(root, manifest(Kind.EXPLAIN, started="2026-11-25T11:00:00Z"), explained)
    save_document(root, manifest(Kind.MAX_BATCH, started="2026-11-25T12:00:00Z"), [max_batch])
    compared = manifest(Kind.COMPARE, started="2026-11-25T13:00:00Z", variants=VARIANTS)
    save_sweep(root, compared, compared_rows(records))
    return root


def plan(group: str, name: str, **settings: str) -> VariantPlan:
    """One variant of a comparison."""
    return VariantPlan(label=name, group=group, name=name, settings=settings, config={})


# The base, a variant that ran, and one that ran out of memory.
VARIANTS = (
    plan("base: optimizer=adam, batch_size=64", "base", optimizer="adam", batch_size="64"),
    plan("optimizer", "sgd+momentum", optimizer="sgd+momentum"),
    plan("batch_size", "1024", batch_size="1024"),
)


def compared_rows(records: list[RunRecord]) -> list[RunRecord]:
    """The record of each of `VARIANTS`."""
    rows = zip(VARIANTS, (records[0], records[3], records[2]), strict=True)
    return [replace(record, variant=variant.name) for variant, record in rows]


def save_sweep(root: Path, manifest: Manifest, records: list[RunRecord]) -> Path:
    folder = ResultFolder.create(root, manifest)
    for record in records:
        folder.append(record)
    folder.finish()
    return folder.path


def column(table: Table, heading: str) -> list[str]:
    """The texts of a column."""
    place = [each.text for each in table.headings].index(heading)
    return [row[place].text for row in table.rows]
