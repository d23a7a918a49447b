from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from memprof.config.schema import OptimizerConfig, SweepConfig
from memprof.errors import ConfigError, ResultError
from memprof.records import Phase, RunRecord, Source, Status, StepReading
from memprof.results import Kind, Result, VariantPlan
from memprof.results.comparison import (
    VariantResult,
    expected_factor,
    observed_state_bytes,
    optimizer_states,
    saved_variants,
)
from memprof.results.diff import Change, compare_results, find_mismatches, pair_records
from memprof.results.regression import Limit, check_results, parse_limit
from tests.samples import (
    sample_breakdown,
    sample_environment,
    sample_phase,
    sample_reading,
    sample_record,
    sample_result,
)

ENVIRONMENT = sample_environment()
Make = Callable[..., Result]


def record(optimizer: str | None, batch_size: int, peak: int, **changes: Any) -> RunRecord:
    """Return a record whose only phase is an optimizer step that leaves 512 bytes."""
    phase = sample_phase(Phase.OPTIMIZER, peak, allocated_before_bytes=1_000, allocated_after_bytes=1_512)
    reading = sample_reading(steps=(StepReading(phases=(phase,), seconds=None),), peak_allocated_bytes=peak)
    breakdown = sample_breakdown(parameters_bytes=256, gradients_bytes=256, optimizer_state_bytes=512)
    defaults = {"optimizer": optimizer, "batch_size": batch_size, "breakdown": breakdown, "reading": reading}
    return sample_record(**{**defaults, **changes})


def result(*records: RunRecord, path: str = "a", config: dict[str, Any] | None = None, **environment: Any) -> Result:
    changed = replace(ENVIRONMENT, **environment)
    return sample_result(*records, path=path, config=config or {"precision": "fp32"}, environment=changed)


def test_pair_records_keeps_order_of_before() -> None:
    before = [record("sgd", 16, 100), record("adam", 16, 300)]
    after = [record("adam", 64, 400), record("sgd", 16, 150)]
    pairs = pair_records(before, after)
    assert [pair.label for pair in pairs] == ["sgd, batch 16", "adam, batch 16", "adam, batch 64"]
    assert [(pair.before is None, pair.after is None) for pair in pairs] == [
        (False, False),
        (False, True),
        (True, False),
    ]


def test_change_is_after_minus_before() -> None:
    (pair,) = pair_records([record("sgd", 16, 1_000)], [record("sgd", 16, 1_250)])
    change = pair.change("peak_allocated_bytes")
    assert (change.bytes, change.percent) == (250, 25.0)
    assert Change(before_bytes=0, after_bytes=5).percent is None


def test_change_ignores_peak_of_oom_run() -> None:
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
def test_compare_results_mismatch_is_refused_by_name(field: str, other: object, named: str) -> None:
    row = record("sgd", 16, 100)
    environment: dict[str, Any] = {field: other}
    before, after = result(row), result(row, path="b", **environment)
    with pytest.raises(ResultError) as caught:
        compare_results(before, after)
    hint = "`memprof diff --force` shows them next to each other"
    assert str(caught.value) == f"a and b cannot be compared: they differ in {named}; {hint}"
    forced = compare_results(before, after, force=True)
    assert [str(item) for item in forced.mismatches] == [named]


def test_compare_results_other_model_is_refused() -> None:
    with pytest.raises(ResultError, match=r"differ in model \(mnist_mlp and cifar_mlp\)"):
        compare_results(result(record("sgd", 16, 1)), result(record("sgd", 16, 1, model="cifar_mlp"), path="b"))


def test_find_mismatches_ignores_platform_and_python() -> None:
    assert find_mismatches(ENVIRONMENT, replace(ENVIRONMENT, python_version="3.12", platform="x", git_commit="1")) == ()


def test_compare_results_without_common_row_is_refused() -> None:
    with pytest.raises(ResultError) as caught:
        compare_results(result(record("sgd", 16, 1)), result(record("sgd", 64, 1), path="b"))
    assert str(caught.value) == "a and b have no row in common (the same optimizer and batch size)"


def test_compare_results_lists_config_changes() -> None:
    before = result(record("sgd", 16, 1), config={"precision": "fp32", "steps": 3, "gpu": "auto"})
    after = result(record("sgd", 16, 1), config={"precision": "bf16", "steps": 3, "gpu": "t4"})
    assert [str(item) for item in compare_results(before, after).config_changes] == ["precision (fp32 and bf16)"]


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [
        ("2%", Limit(percent=2.0), "2 %"),
        (" 0.5 % ", Limit(percent=0.5), "0.5 %"),
        ("16MiB", Limit(bytes=16 * 1024**2), "16.00 MiB"),
        ("16MB", Limit(bytes=16 * 10**6), "15.26 MiB"),
        ("5", Limit(percent=5.0), "5 %"),
        ("0", Limit(percent=0.0), "0 %"),
    ],
)
def test_parse_limit_accepts_percentage_or_size(text: str, limit: Limit, shown: str) -> None:
    assert parse_limit(text) == limit
    assert str(parse_limit(text)) == shown


@pytest.mark.parametrize("text", ["2 of 3", "-1%", "nan%", "inf%", "two", "", "%", "-3MiB"])
def test_parse_limit_ambiguous_text_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_limit(text)
    assert str(caught.value) == f"--max-increase {text}: write a percentage or a size, for example 2% or 16MiB"


@pytest.mark.parametrize(("peak", "allowed"), [(1_020, True), (1_021, False), (900, True)])
def test_check_results_limit_is_inclusive(peak: int, allowed: bool) -> None:
    comparison = compare_results(result(record("sgd", 16, 1_000)), result(record("sgd", 16, peak)))
    checked = check_results(comparison, Limit(percent=2.0))
    assert checked.passed is allowed
    assert [one.pair.label for one in checked.regressions] == ([] if allowed else ["sgd, batch 16"])


def test_check_results_missing_row_fails_new_row_passes() -> None:
    baseline = result(record("sgd", 16, 100), record("sgd", 64, 100))
    now = result(record("sgd", 16, 100), record("adam", 16, 100))
    checked = check_results(compare_results(baseline, now), Limit(percent=2.0))
    assert not checked.passed
    assert [one.pair.label for one in checked.missing] == ["sgd, batch 64"]
    assert [pair.label for pair in checked.new] == ["adam, batch 16"]
    assert [pair.label for pair in checked.within_limit] == ["sgd, batch 16"]


def test_check_results_new_oom_is_regression() -> None:
    now = result(record("sgd", 16, 50, status=Status.OOM))
    checked = check_results(compare_results(result(record("sgd", 16, 100)), now), Limit(percent=2.0))
    assert [one.reason for one in checked.regressions] == ["ok before, now oom"]


def test_check_results_analytic_uses_total() -> None:
    row = record("sgd", 16, 1, source=Source.ANALYTIC, reading=None)
    before, after = (result(row, source=Source.ANALYTIC) for _ in range(2))
    checked = check_results(compare_results(before, after), Limit(percent=0.0))
    assert (checked.figure, checked.passed) == ("analytic_total_bytes", True)


def config_of(optimizer: str, **changes: Any) -> SweepConfig:
    return SweepConfig.model_validate(
        {"name": "x", "model": "mnist_mlp", "input": {"shape": [1, 28, 28]}, "optimizers": [optimizer], **changes}
    )


def variant(optimizer: str, **changes: Any) -> VariantResult:
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


def test_saved_variants_equal_measured_records() -> None:
    records = record("sgd", 16, 1, variant="base"), record("adam", 16, 2, variant="optimizer=adam")
    base, adam = saved_variants(compared(*records))
    assert (base.name, adam.name, adam.settings) == ("sgd", "adam", {"optimizer": "adam"})
    assert (base.record, adam.record) == records
    assert adam.config == config_of("adam")


@pytest.mark.parametrize("labels", [("optimizer=adam",), ("base", "base"), (None,)])
def test_saved_variants_other_records_are_refused(labels: tuple[str | None, ...]) -> None:
    records = [record("sgd", 16, 1, variant=label) for label in labels]
    with pytest.raises(ResultError) as refusal:
        saved_variants(compared(*records))
    assert str(refusal.value) == "a is damaged: its records do not match the variants in its manifest"


def test_saved_variants_invalid_config_is_refused_by_key() -> None:
    saved = compared(record("sgd", 16, 1, variant="base"))
    first, *others = saved.manifest.variants
    broken = replace(first, config={**first.config, "steps": "many"})
    with pytest.raises(ResultError, match=r"^a: the config of a variant is invalid: steps: "):
        saved_variants(replace(saved, manifest=replace(saved.manifest, variants=(broken, *others))))


def test_pair_records_pairs_by_variant() -> None:
    """With two settings other than optimizer and batch size."""
    before = [record("sgd", 16, 100, variant="base"), record("sgd", 16, 200, variant="precision=bf16")]
    after = [record("sgd", 16, 100, variant="base"), record("sgd", 16, 250, variant="precision=bf16")]
    pairs = pair_records(before, after)
    assert [pair.label for pair in pairs] == ["base, batch 16", "precision=bf16, batch 16"]
    assert [pair.change("peak_allocated_bytes").bytes for pair in pairs] == [0, 50]


def test_compare_results_extra_variant_is_no_mismatch() -> None:
    base, other = record("sgd", 16, 1, variant="base"), record("sgd", 16, 1, variant="model=x", model="x")
    comparison = compare_results(compared(base, other), compared(base, path="b"))
    assert (comparison.mismatches, len(comparison.pairs)) == ((), 2)


def test_compare_results_sweep_and_comparison_is_refused() -> None:
    with pytest.raises(ResultError, match=r"no row in common \(the same variant, optimizer and batch size\)"):
        compare_results(result(record("sgd", 16, 1)), compared(record("sgd", 16, 1, variant="base"), path="b"))


def test_optimizer_states_have_expected_factor() -> None:
    (state,) = optimizer_states([variant("adam"), variant("adam")])
    assert (state.bytes, state.factor, state.expected_factor, state.observed_bytes) == (512, 2.0, 2, 512)


def test_optimizer_states_count_only_trained_parameters() -> None:
    whole = variant("adam")
    assert whole.record.breakdown is not None
    trained = replace(whole.record.breakdown, gradients_bytes=1000, optimizer_state_bytes=2000)
    (state,) = optimizer_states([replace(whole, record=replace(whole.record, breakdown=trained))])
    assert (state.factor, state.expected_factor) == (2, 2)


def test_optimizer_states_in_backward_are_not_observed() -> None:
    assert optimizer_states([variant("adam", optimizer_in_backward=True)])[0].observed_bytes is None


def test_optimizer_states_of_inference_are_empty() -> None:
    assert optimizer_states([variant("adam", mode="inference")]) == []


def test_observed_state_bytes_of_first_optimizer_step() -> None:
    assert observed_state_bytes(record("adam", 16, 1)) == 512
    assert observed_state_bytes(record("adam", 16, 1, status=Status.OOM)) is None
    assert observed_state_bytes(record("adam", 16, 1, reading=None)) is None


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
def test_expected_factor_of_known_optimizers(name: str, kwargs: dict[str, Any], factor: int) -> None:
    assert expected_factor(OptimizerConfig(name=name, kwargs=kwargs)) == factor
