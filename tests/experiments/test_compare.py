"""Variants of a config in one session: each has its own GPU, settings and reason of failure."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from memprof.config.variants import Variant, plan_variants
from memprof.experiments.compare import VariantRuns
from memprof.experiments.session import open_session
from memprof.gpus.select import Device
from memprof.records import RunRecord, Status

SETTINGS = ("gpu=t4", "activation_checkpointing=1", "allocator=expandable_segments:True", "mode=inference")


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory, phantom_device_h100: Device) -> tuple[Variant, ...]:
    path = tmp_path_factory.mktemp("variants") / "mlp.yaml"
    path.write_text(f"model: mnist_mlp\nbatch_sizes: [16]\ngpu: {phantom_device_h100.name}\n")
    return plan_variants(path, (), SETTINGS)


@pytest.fixture(scope="module")
def runs(variants: tuple[Variant, ...], phantom_device_h100: Device) -> Iterator[VariantRuns]:
    with open_session(variants[0].loaded, phantom_device_h100) as session:
        yield VariantRuns(session)


@pytest.fixture(scope="module")
def records(runs: VariantRuns, variants: tuple[Variant, ...]) -> dict[str, RunRecord]:
    found = runs.records([variant.loaded.config for variant in variants])
    return {variant.label: record for variant, record in zip(variants, found, strict=True)}


def test_variant_may_have_another_gpu(records: dict[str, RunRecord]) -> None:
    base, other = records["base"], records["gpu=t4"]
    assert (base.environment.gpu, other.environment.gpu) == ("h100-80gb", "t4")
    assert base.reading is not None
    assert other.reading is not None
    # cuBLAS's workspace is 32 MiB from compute capability 9.0 on, before that 8 MiB and 128 KiB.
    assert base.reading.peak_allocated_bytes - other.reading.peak_allocated_bytes > 20 * 1024**2


def test_variant_that_cannot_be_built_is_a_row_with_its_reason(records: dict[str, RunRecord]) -> None:
    failed = records["activation_checkpointing=1"]
    assert (failed.status, failed.breakdown, failed.reading) == (Status.ERROR, None, None)
    assert failed.error is not None
    assert "has no blocks to checkpoint" in failed.error


def test_variant_records_its_own_allocator_settings(records: dict[str, RunRecord]) -> None:
    changed = records["allocator=expandable_segments:True"].environment.allocator_settings
    assert changed == "expandable_segments:True"
    assert records["base"].environment.allocator_settings != changed


def test_variant_in_inference_has_no_optimizer(records: dict[str, RunRecord]) -> None:
    record = records["mode=inference"]
    assert (record.optimizer, record.status, record.mode) == (None, Status.OK, "inference")


def test_largest_batch_is_smaller_on_a_smaller_gpu(runs: VariantRuns, variants: tuple[Variant, ...]) -> None:
    base, smaller = (runs.largest_batch_size(variant.loaded.config) for variant in variants[:2])
    assert base is not None
    assert smaller is not None
    assert 0 < smaller < base
    assert runs.largest_batch_size(variants[2].loaded.config) is None
