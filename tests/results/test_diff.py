from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memprof.config.schema import OptimizerConfig, SweepConfig
from memprof.errors import ConfigError, ResultError
from memprof.records import Breakdown, Phase, PhaseReading, Reading, RunRecord, Source, Status, StepReading
from memprof.results import Kind, Manifest, Result, VariantPlan
from memprof.results.comparison import (
    VariantResult,
    optimizer_states,
    saved_variants,
    state_read_bytes,
    textbook_factor,
)
from memprof.results.diff import Change, compare_results, find_unlikeness, pair_records
from memprof.results.regression import Limit, check_results, parse_limit
from tests.samples import sample_environment

ENVIRONMENT = sample_environment()
Make = Callable[..., Result]


def record(optimizer: str | None, batch_size: int, peak: int, **changes: Any) -> RunRecord:
    phase = PhaseReading(
        phase=Phase.OPTIMIZER,
        allocated_before_bytes=1_000,
        peak_allocated_bytes=peak,
        allocated_after_bytes=1_512,
        peak_requested_bytes=peak,
        peak_reserved_bytes=2_000,
    )
    reading = Reading(
        steps=(StepReading(phases=(phase,), seconds=None),),
        peak_allocated_bytes=peak,
        peak_requested_bytes=peak,
        peak_reserved_bytes=2_000_000,
        nvml_used_bytes=None,
        context_bytes=None,
        inactive_split_bytes=0,
        allocation_retries=0,
        workspace_known=True,
    )
    breakdown = Breakdown(
        parameters_bytes=256,
        buffers_bytes=0,
        gradients_bytes=256,
        optimizer_state_bytes=512,
        input_bytes=10,
        activations_bytes=100,
    )
    made = RunRecord(
        model="mnist_mlp",
        optimizer=optimizer,
        precision="fp32",
        mode="train",
        batch_size=batch_size,
        source=Source.EMULATED,
        status=Status.OK,
        environment=ENVIRONMENT,
        breakdown=breakdown,
        reading=reading,
    )
    return replace(made, **changes)


def result(*records: RunRecord, path: str = "a", config: dict[str, Any] | None = None, **environment: Any) -> Result:
    manifest = Manifest(
        name="mnist_mlp",
        fingerprint="abc",
        config=config or {"precision": "fp32"},
        environment=replace(ENVIRONMENT, **environment),
        command=("memprof",),
        points_planned=len(records),
        started="2026-11-22T01:42:00Z",
    )
    return Result(path=Path(path), manifest=manifest, records=records)


def test_rows_are_paired_by_optimizer_and_batch_size_in_the_order_of_the_first() -> None:
    before = [record("sgd", 16, 100), record("adam", 16, 300)]
    after = [record("adam", 64, 400), record("sgd", 16, 150)]
    pairs = pair_records(before, after)
    assert [pair.label for pair in pairs] == ["sgd, batch 16", "adam, batch 16", "adam, batch 64"]
    assert [(pair.before is None, pair.after is None) for pair in pairs] == [
        (False, False),
        (False, True),
        (True, False),
    ]


def test_a_change_is_after_less_before_in_bytes_and_per_cent_of_before() -> None:
    (pair,) = pair_records([record("sgd", 16, 1_000)], [record("sgd", 16, 1_250)])
    change = pair.change("peak_allocated_bytes")
    assert (change.bytes, change.percent) == (250, 25.0)
    assert Change(before_bytes=0, after_bytes=5).percent is None


def test_the_peak_of_a_run_that_ran_out_of_memory_is_no_figure() -> None:
    (pair,) = pair_records([record("sgd", 16, 1_000)], [record("sgd", 16, 500, status=Status.OOM)])
    assert pair.change("peak_allocated_bytes") == Change(before_bytes=1_000, after_bytes=None)
    assert pair.change("peak_allocated_bytes").bytes is None
    assert pair.change("parameters_bytes").bytes == 0


@pytest.mark.parametrize(
    ("field", "other", "named"),
    [
        ("gpu", "t4", "GPU (h100-80gb and t4)"),
        ("gpu_total_bytes", 1024**3, "GPU memory (79.18 GiB and 1.00 GiB)"),
        ("torch_version", "2.15.0", "torch (2.14.1 and 2.15.0)"),
        ("cudnn_version", None, "cuDNN (9.24.0 and none)"),
        ("cuda_version", "13.2", "CUDA (13.0 and 13.2)"),
        ("source", Source.MEASURED, "source (emulated and measured)"),
    ],
)
def test_unlike_results_are_refused_by_what_they_differ_in(field: str, other: Any, named: str) -> None:
    row = record("sgd", 16, 100)
    before, after = result(row), result(row, path="b", **{field: other})
    with pytest.raises(ResultError) as caught:
        compare_results(before, after)
    assert str(caught.value) == f"a and b are not alike: {named}; --force compares them all the same"
    forced = compare_results(before, after, force=True)
    assert [str(item) for item in forced.unlike] == [named]


def test_another_model_is_refused() -> None:
    with pytest.raises(ResultError, match=r"not alike: model \(mnist_mlp and cifar_mlp\)"):
        compare_results(result(record("sgd", 16, 1)), result(record("sgd", 16, 1, model="cifar_mlp"), path="b"))


def test_another_platform_or_python_is_no_unlikeness() -> None:
    assert find_unlikeness(ENVIRONMENT, replace(ENVIRONMENT, python_version="3.12", platform="x", git_commit="1")) == ()


def test_results_without_a_common_row_are_refused() -> None:
    with pytest.raises(ResultError) as caught:
        compare_results(result(record("sgd", 16, 1)), result(record("sgd", 64, 1), path="b"))
    assert str(caught.value) == "a and b have no row in common (the same optimizer and batch size)"


def test_changed_config_keys_are_said_but_not_refused() -> None:
    before = result(record("sgd", 16, 1), config={"precision": "fp32", "steps": 3, "gpu": "auto"})
    after = result(record("sgd", 16, 1), config={"precision": "bf16", "steps": 3, "gpu": "t4"})
    assert [str(item) for item in compare_results(before, after).changed] == ["precision (fp32 and bf16)"]


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [
        ("2%", Limit(percent=2.0), "2 %"),
        (" 0.5 % ", Limit(percent=0.5), "0.5 %"),
        ("16MiB", Limit(bytes=16 * 1024**2), "16.00 MiB"),
        ("0", Limit(bytes=0), "0 B"),
    ],
)
def test_a_limit_is_per_cent_or_a_size(text: str, limit: Limit, shown: str) -> None:
    assert parse_limit(text) == limit
    assert str(parse_limit(text)) == shown


@pytest.mark.parametrize("text", ["2", "-1%", "nan%", "inf%", "two", "", "%", "-3MiB"])
def test_a_limit_that_may_be_either_or_neither_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_limit(text)
    assert str(caught.value) == f"--max-increase {text}: write per cent or a size, for example 2% or 16MiB"


@pytest.mark.parametrize(("peak", "allowed"), [(1_020, True), (1_021, False), (900, True)])
def test_growth_up_to_the_limit_passes_and_a_byte_more_does_not(peak: int, allowed: bool) -> None:
    comparison = compare_results(result(record("sgd", 16, 1_000)), result(record("sgd", 16, peak)))
    verdict = check_results(comparison, Limit(percent=2.0))
    assert verdict.passed is allowed
    assert [finding.pair.label for finding in verdict.grew] == ([] if allowed else ["sgd, batch 16"])


def test_a_row_that_is_missing_fails_and_a_new_one_does_not() -> None:
    baseline = result(record("sgd", 16, 100), record("sgd", 64, 100))
    now = result(record("sgd", 16, 100), record("adam", 16, 100))
    verdict = check_results(compare_results(baseline, now), Limit(percent=2.0))
    assert not verdict.passed
    assert [finding.pair.label for finding in verdict.missing] == ["sgd, batch 64"]
    assert [pair.label for pair in verdict.new] == ["adam, batch 16"]
    assert [pair.label for pair in verdict.held] == ["sgd, batch 16"]


def test_a_row_that_ran_out_of_memory_since_is_one_that_grew() -> None:
    now = result(record("sgd", 16, 50, status=Status.OOM))
    verdict = check_results(compare_results(result(record("sgd", 16, 100)), now), Limit(percent=2.0))
    assert [finding.reason for finding in verdict.grew] == ["ok before, now oom"]


def test_an_analytic_sweep_is_checked_by_its_total() -> None:
    row = record("sgd", 16, 1, source=Source.ANALYTIC, reading=None)
    one, other = (result(row, source=Source.ANALYTIC) for _ in range(2))
    verdict = check_results(compare_results(one, other), Limit(percent=0.0))
    assert (verdict.figure, verdict.passed) == ("analytic_total_bytes", True)


def config_of(optimizer: str, **changes: Any) -> SweepConfig:
    return SweepConfig.model_validate(
        {"name": "x", "model": "mnist_mlp", "input": {"shape": [1, 28, 28]}, "optimizers": [optimizer], **changes}
    )


def answer(optimizer: str, **changes: Any) -> VariantResult:
    settings = {"optimizer": optimizer}
    config, made = config_of(optimizer, **changes), record(optimizer, 16, 1)
    return VariantResult(group="", name=optimizer, settings=settings, config=config, record=made)


def compared(*records: RunRecord, path: str = "a") -> Result:
    """A saved comparison of SGD against Adam and momentum, of which `records` are there."""
    names = {"base": "sgd", "optimizer=adam": "adam", "optimizer=sgd+momentum": "sgd+momentum"}
    plans = tuple(
        VariantPlan(
            label=label,
            group="optimizer",
            name=name,
            settings={"optimizer": name},
            config=config_of(name).model_dump(mode="json"),
        )
        for label, name in names.items()
    )
    saved = result(*records, path=path)
    return replace(saved, manifest=replace(saved.manifest, kind=Kind.COMPARE, variants=plans, points_planned=3))


def test_the_answers_of_a_saved_comparison_are_those_that_were_measured() -> None:
    records = record("sgd", 16, 1, variant="base"), record("adam", 16, 2, variant="optimizer=adam")
    base, adam = saved_variants(compared(*records))
    assert (base.name, adam.name, adam.settings) == ("sgd", "adam", {"optimizer": "adam"})
    assert (base.record, adam.record) == records
    assert adam.config == config_of("adam")


@pytest.mark.parametrize("labels", [("optimizer=adam",), ("base", "base"), (None,)])
def test_records_that_are_not_of_the_planned_variants_are_refused(labels: tuple[str | None, ...]) -> None:
    records = [record("sgd", 16, 1, variant=label) for label in labels]
    with pytest.raises(ResultError) as refusal:
        saved_variants(compared(*records))
    assert str(refusal.value) == "a is damaged: its records are not of the variants that its manifest lists"


def test_a_variant_s_config_that_cannot_be_read_is_refused_by_its_key() -> None:
    saved = compared(record("sgd", 16, 1, variant="base"))
    first, *others = saved.manifest.variants
    broken = replace(first, config={**first.config, "steps": "many"})
    with pytest.raises(ResultError, match=r"^a: the config of a variant cannot be read: steps: "):
        saved_variants(replace(saved, manifest=replace(saved.manifest, variants=(broken, *others))))


def test_comparisons_are_paired_by_variant_too() -> None:
    """Two knobs that leave optimizer and batch size alone."""
    before = [record("sgd", 16, 100, variant="base"), record("sgd", 16, 200, variant="precision=bf16")]
    after = [record("sgd", 16, 100, variant="base"), record("sgd", 16, 250, variant="precision=bf16")]
    pairs = pair_records(before, after)
    assert [pair.label for pair in pairs] == ["base, batch 16", "precision=bf16, batch 16"]
    assert [pair.change("peak_allocated_bytes").bytes for pair in pairs] == [0, 50]


def test_a_variant_that_only_one_of_two_comparisons_has_does_not_make_another_model_of_it() -> None:
    base, other = record("sgd", 16, 1, variant="base"), record("sgd", 16, 1, variant="model=x", model="x")
    comparison = compare_results(compared(base, other), compared(base, path="b"))
    assert (comparison.unlike, len(comparison.pairs)) == ((), 2)


def test_a_sweep_and_a_comparison_have_no_row_in_common() -> None:
    with pytest.raises(ResultError, match=r"no row in common \(the same variant, optimizer and batch size\)"):
        compare_results(result(record("sgd", 16, 1)), compared(record("sgd", 16, 1, variant="base"), path="b"))


def test_an_optimizers_state_is_held_against_the_textbooks_factor() -> None:
    (state,) = optimizer_states([answer("adam"), answer("adam")])
    assert (state.bytes, state.factor, state.textbook_factor, state.read_bytes) == (512, 2.0, 2, 512)


def test_state_that_is_made_within_backward_is_not_read_from_the_optimizers_phase() -> None:
    assert optimizer_states([answer("adam", optimizer_in_backward=True)])[0].read_bytes is None


def test_inference_has_no_optimizer_state() -> None:
    assert optimizer_states([answer("adam", mode="inference")]) == []


def test_state_is_what_the_first_optimizer_step_left_allocated() -> None:
    assert state_read_bytes(record("adam", 16, 1)) == 512
    assert state_read_bytes(record("adam", 16, 1, status=Status.OOM)) is None
    assert state_read_bytes(record("adam", 16, 1, reading=None)) is None


@pytest.mark.parametrize(
    ("name", "kwargs", "factor"),
    [
        ("sgd", {}, 0),
        ("sgd+momentum", {}, 1),
        ("SGD", {"momentum": 0.9, "nesterov": True}, 1),
        ("adam", {}, 2),
        ("AdamW", {"amsgrad": True}, 3),
        ("adafactor", {}, None),
    ],
)
def test_the_textbook_counts_the_copies_of_the_parameters(name: str, kwargs: dict[str, Any], factor: int) -> None:
    assert textbook_factor(OptimizerConfig(name=name, kwargs=kwargs)) == factor
