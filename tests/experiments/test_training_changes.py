"""The settings that change what is trained: which there are, in which order, and that they say so."""

from __future__ import annotations

from typing import Any

import pytest

from memprof.config.overrides import Override
from memprof.config.schema import SweepConfig
from memprof.config.variants import Setting
from memprof.experiments.memory_savers import MemorySaver, list_memory_savers, merged_settings
from memprof.experiments.training_changes import list_training_changes
from tests.samples import sample_config

LLAMA = "transformers:LlamaForCausalLM"


def config(**changes: Any) -> SweepConfig:
    return sample_config(**{"model": LLAMA, "optimizers": ["adamw"], "batch_sizes": [8], **changes})


def changes_of(installed: str = "peft bitsandbytes", bf16: bool = True, **changes: Any) -> list[MemorySaver]:
    return list(list_training_changes(config(**changes), bf16, installed.split().__contains__))


def names(**changes: Any) -> list[str]:
    return [saver.name for saver in changes_of(**changes)]


def test_changes_are_ordered_by_how_much_they_change() -> None:
    found = changes_of()
    assert [saver.name for saver in found] == ["adamw with 8-bit state", "bf16 weights", "LoRA", "4-bit weights"]
    assert all(saver.changes_training and saver.cost.startswith("changes training: ") for saver in found)
    assert not any(saver.changes_training for saver in list_memory_savers(config(), bf16=True))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"mode": "inference"}, []),
        ({"installed": ""}, ["bf16 weights"]),
        ({"installed": "peft"}, ["bf16 weights", "LoRA"]),
        ({"bf16": False}, ["adamw with 8-bit state", "LoRA", "4-bit weights"]),
        ({"precision": "bf16"}, ["adamw with 8-bit state", "LoRA", "4-bit weights"]),
        ({"precision": "bf16", "optimizers": ["sgd"]}, ["LoRA", "4-bit weights"]),
        ({"precision": "bf16", "adapter": "lora"}, ["adamw with 8-bit state", "4-bit weights"]),
        ({"precision": "bf16", "adapter": "lora", "quantization": {"bits": 8}}, ["adamw with 8-bit state"]),
        ({"precision": "bf16", "freeze": ["lm_head*"]}, ["adamw with 8-bit state"]),
        ({"precision": "bf16", "model": "torchvision:resnet18"}, ["adamw with 8-bit state"]),
    ],
)
def test_changes_leave_what_the_config_sets(changes: dict[str, Any], expected: list[str]) -> None:
    assert names(**changes) == expected


def test_eight_bit_optimizer_keeps_arguments_and_drops_fused() -> None:
    optimizer = {"name": "adamw", "kwargs": {"lr": 0.1, "fused": True}}
    saver = changes_of(optimizers=[optimizer])[0]
    assert saver.settings[0].value == "{name: 'bitsandbytes:AdamW8bit', kwargs: {lr: 0.1}}"
    fused = MemorySaver(name="fused", settings=(Setting(key="optimizer.kwargs.fused", value="true"),), cost="none")
    assert merged_settings([fused, saver]) == saver.settings


def test_four_bit_weights_bring_the_adapter_that_is_trained() -> None:
    assert {setting.key for setting in changes_of()[-1].settings} == {"adapter", "quantization"}
    assert {setting.key for setting in changes_of(adapter="ia3")[-1].settings} == {"quantization"}


def test_settings_of_changes_are_valid(tmp_path: Any) -> None:
    from memprof.config.overrides import Flag
    from memprof.config.variants import load_variant

    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed (the extra is `hub`)")
    pytest.importorskip("peft", reason="peft is not installed (the extra is `hub`)")
    file = tmp_path / "x.yaml"
    file.write_text(f"model: {LLAMA}\noptimizers: [{{name: adamw, kwargs: {{lr: 0.001}}}}]\nbatch_sizes: [1]\n")
    overrides: list[Override] = []
    settings = merged_settings(changes_of(optimizers=[{"name": "adamw", "kwargs": {"lr": 0.001}}]))
    loaded = load_variant(file, overrides, settings, Flag.SAVER).config
    assert loaded.optimizers[0].name == "bitsandbytes:AdamW8bit"
    assert loaded.optimizers[0].kwargs == {"lr": 0.001}
    assert loaded.adapter == {"lora": {"r": 16, "target_modules": "all-linear"}}
    assert loaded.quantization is not None
    assert loaded.quantization.bits == 4
