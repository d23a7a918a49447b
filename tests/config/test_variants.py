from __future__ import annotations

from pathlib import Path

import pytest

from memprof.config.overrides import Flag, Override
from memprof.config.schema import Precision
from memprof.config.variants import Setting, load_variant, parse_vary, plan_variants
from memprof.errors import ConfigError

CONFIG = """
model: mnist_mlp
optimizers: [sgd, {name: adam, kwargs: {lr: 0.01}}]
batch_sizes: [16, 64]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "mlp.yaml"
    path.write_text(CONFIG)
    return path


def labels(path: Path, *vary: str, grid: bool = False, options: tuple[tuple[Flag, str], ...] = ()) -> list[str]:
    overrides = [Override(flag=flag, text=text) for flag, text in options]
    return [variant.label for variant in plan_variants(path, overrides, vary, grid)]


def test_plan_variants_changes_one_setting_at_a_time(config: Path) -> None:
    assert labels(config, "optimizer=sgd,adam,adamw", "precision=fp32,amp-bf16") == [
        "base",
        "optimizer=adam",
        "optimizer=adamw",
        "precision=amp-bf16",
    ]


def test_plan_variants_grid_has_every_combination(config: Path) -> None:
    assert labels(config, "optimizer=sgd,adam", "precision=fp32,amp-bf16", grid=True) == [
        "base",
        "precision=amp-bf16",
        "optimizer=adam",
        "optimizer=adam, precision=amp-bf16",
    ]


def test_variant_has_one_optimizer_and_first_batch_size(config: Path) -> None:
    base, adam = plan_variants(config, (), ["optimizer=sgd,adam"])
    assert [optimizer.label for optimizer in base.loaded.config.optimizers] == ["sgd"]
    assert base.loaded.config.list_batch_sizes() == adam.loaded.config.list_batch_sizes() == (16,)


def test_variant_optimizer_keeps_configured_arguments(config: Path) -> None:
    adam = plan_variants(config, (), ["optimizer=sgd,adam"])[1]
    assert adam.loaded.config.optimizers[0].kwargs == {"lr": 0.01}


def test_plan_variants_options_change_base(config: Path) -> None:
    options = ((Flag.BATCH_SIZE, "64"), (Flag.SET, "precision=bf16"), (Flag.OPTIMIZER, "adam"))
    overrides = [Override(flag=flag, text=text) for flag, text in options]
    base = plan_variants(config, overrides, ["channels_last=true"])[0].loaded.config
    assert (base.optimizers[0].label, base.list_batch_sizes(), base.precision) == ("adam", (64,), Precision.BF16)


def test_plan_variants_single_value_differs_from_config(config: Path) -> None:
    base, changed = plan_variants(config, (), ["cudnn.benchmark=true"])
    assert base.settings == (Setting(key="cudnn.benchmark", value="false"),)
    assert (base.loaded.config.cudnn.benchmark, changed.loaded.config.cudnn.benchmark) == (False, True)


def test_plan_variants_first_value_is_base_without_own(config: Path) -> None:
    base, other = plan_variants(config, (), ["precision=bf16,fp16"])
    assert (base.loaded.config.precision, other.loaded.config.precision) == (Precision.BF16, Precision.FP16)
    assert (base.label, other.label) == ("base", "precision=fp16")


def test_plan_variants_two_spellings_are_one_variant(config: Path) -> None:
    assert labels(config, "optimizer=sgd,SGD,adam") == ["base", "optimizer=adam"]


def test_variant_argument_goes_to_selected_optimizer(config: Path) -> None:
    variants = plan_variants(config, (), ["optimizer.kwargs.foreach=false", "optimizer=sgd,adam"], grid=True)
    found = [(v.loaded.config.optimizers[0].name, v.loaded.config.optimizers[0].kwargs) for v in variants]
    assert found == [
        ("sgd", {}),
        ("adam", {"lr": 0.01}),
        ("sgd", {"foreach": False}),
        ("adam", {"lr": 0.01, "foreach": False}),
    ]


def test_variant_optimizer_in_long_form_is_accepted(config: Path) -> None:
    spelled = "optimizer={name: adam, kwargs: {fused: true}},{name: adam, kwargs: {lr: 1.0}, label: fast}"
    base, fast = plan_variants(config, (), [spelled])
    assert [setting.shown for setting in (*base.settings, *fast.settings)] == ["adam(fused=True)", "fast"]
    assert base.loaded.config.optimizers[0].kwargs == {"fused": True}


def test_parse_vary_keeps_commas_in_brackets_and_quotes() -> None:
    values = [setting.value for setting in parse_vary("input.shape=[1, 28, 28],[3,4]")]
    assert values == ["[1, 28, 28]", "[3,4]"]
    assert [setting.value for setting in parse_vary("allocator='a:1,b:2',c:3")] == ["'a:1,b:2'", "c:3"]


def test_load_variant_inference_has_no_optimizer(config: Path) -> None:
    loaded = load_variant(config, [Override(flag=Flag.SET, text="mode=inference")])
    assert loaded.config.points() == ((None, 16),)


@pytest.mark.parametrize(
    ("vary", "refusal"),
    [
        (["optimizer=adma"], "--vary optimizer=adma: unknown optimizer 'adma'; did you mean adam?"),
        (["precison=fp32"], "--vary precison=fp32: unknown key; did you mean precision?"),
        (["cudnn.benchmrk=true"], "--vary cudnn.benchmrk=true: unknown key; did you mean benchmark?"),
        (
            ["precision=fp31"],
            "--vary precision=fp31: 'fp31' is not one of fp32, fp64, bf16, fp16, amp-bf16, amp-fp16; "
            "did you mean fp32?",
        ),
        (["precision"], "--vary precision: write key=value,value, for example --vary precision=fp32,amp-bf16"),
        (["steps=3,,4"], "--vary steps=3,,4: write key=value,value, for example --vary precision=fp32,amp-bf16"),
        (["batch_size=a"], "--vary batch_size=a: 'a' is not a whole number"),
        (["batch_size=0"], "--vary batch_size=0: 0 is too small; the minimum is 1"),
        (
            ["optimizer=sgd"],
            "nothing to compare with the base; give at least one setting another value: --vary precision=fp32,amp-bf16",
        ),
        (
            ["steps=3,4", "steps=5"],
            "--vary steps: is varied twice; list all its values after one --vary",
        ),
    ],
)
def test_plan_variants_invalid_setting_is_refused(config: Path, vary: list[str], refusal: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_variants(config, (), vary)
    assert str(caught.value) == refusal


def test_plan_variants_optimizer_in_inference_is_refused(config: Path) -> None:
    with pytest.raises(ConfigError, match=r"--vary optimizer: mode inference has no optimizer; set mode=train"):
        plan_variants(config, [Override(flag=Flag.SET, text="mode=inference")], ["optimizer=adam"])


def test_plan_variants_too_many_are_refused(config: Path) -> None:
    vary = [f"{key}={','.join(str(value) for value in range(3, 43))}" for key in ("steps", "seed")]
    with pytest.raises(ConfigError, match=r"more than 1000 variants; vary fewer settings, or give fewer values"):
        plan_variants(config, (), vary, grid=True)
