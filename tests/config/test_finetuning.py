"""The keys of fine-tuning: their short forms, and what is refused before PyTorch is imported."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import yaml

from memprof.config.load import load
from memprof.config.schema import SweepConfig
from memprof.errors import ConfigError
from tests.config.conftest import skip_without_packages
from tests.paths import CONFIGS
from tests.samples import sample_config

TUNED = sorted([*CONFIGS.glob("hub/*lora*.yaml"), *CONFIGS.glob("published/*.yaml")])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("lora", {"lora": {}}),
        ({"lora": None}, {"lora": {}}),
        ({"LoraConfig": {"r": 8}}, {"LoraConfig": {"r": 8}}),
        (None, None),
    ],
)
def test_adapter_short_forms_equal_the_long_one(given: Any, expected: Any) -> None:
    config = sample_config(adapter=given)
    assert config.adapter == expected
    assert SweepConfig.model_validate_json(config.model_dump_json()) == config


def test_freeze_one_pattern_equals_a_list() -> None:
    assert sample_config(freeze="conv*").freeze == sample_config(freeze=["conv*"]).freeze == ("conv*",)


def test_scheduler_and_ema_short_forms_equal_the_long_ones() -> None:
    assert sample_config(scheduler="steplr") == sample_config(scheduler={"name": "steplr"})
    assert sample_config(ema=0.99) == sample_config(ema={"decay": 0.99})


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"adapter": {}}, "adapter: empty; give at least one"),
        ({"adapter": {"lora": {}, "ia3": {}}}, "adapter: names 2 methods; write one of them"),
        ({"adapter": 3}, "adapter: 3 is not a mapping"),
        ({"freeze": [""]}, "freeze[0]: empty"),
        ({"quantization": {"bits": 3}}, "quantization.bits: 3 is not one of 4, 8"),
        ({"quantization": {}}, "quantization.bits: missing"),
        ({"quantization": {"bits": 4, "quant_type": "nf5"}}, "quantization.quant_type: 'nf5' is not one of nf4, fp4"),
        ({"ema": 1.5}, "ema: 1.5 is too large; the maximum is 1"),
        ({"clip_grad_norm": 0}, "clip_grad_norm: 0 is too small; write more than 0"),
        ({"scheduler": "cosineanealing"}, "scheduler: unknown scheduler 'cosineanealing'; did you mean"),
        ({"scheduler": "LambdaLR"}, "scheduler: unknown scheduler 'LambdaLR'"),
        (
            {"clip_grad_norm": 1.0, "optimizer_in_backward": True},
            "optimizer_in_backward: clip_grad_norm: 1.0 needs all gradients before a step; leave it out, or set",
        ),
        (
            {"gradient_checkpointing": True, "activation_checkpointing": 2},
            "gradient_checkpointing: activation_checkpointing: 2 recomputes blocks too; set one of the two",
        ),
    ],
)
def test_load_refuses_finetuning_keys_in_one_line(tmp_path: Path, keys: dict[str, Any], text: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(yaml.safe_dump({"model": "mnist_mlp", **keys}))
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert text in str(caught.value)


def test_load_missing_package_says_how_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    file = tmp_path / "x.yaml"
    for key, package in (("adapter: lora", "peft"), ("quantization: {bits: 4}", "bitsandbytes")):
        file.write_text(f"model: mnist_mlp\n{key}\n")
        with pytest.raises(ConfigError) as caught:
            load(file)
        name = key.partition(":")[0]
        assert str(caught.value) == (
            f"{file}:2: {name}: needs {package}, which is not installed; run: pip install {package}"
        )


@pytest.mark.parametrize("path", TUNED, ids=lambda path: path.stem)
def test_shipped_finetuning_config_loads(path: Path) -> None:
    skip_without_packages(path)
    config = load(path).config
    assert config.name == path.stem
    assert config.loss.name == "output"
    assert config.points()
