"""The memory savers of a config: which there are, and in which order."""

from __future__ import annotations

from typing import Any

import pytest

from memprof.config.schema import SweepConfig
from memprof.experiments.memory_savers import list_memory_savers, merged_settings
from tests.samples import sample_config


def config(**changes: Any) -> SweepConfig:
    return sample_config(**{"optimizers": ["adam"], "batch_sizes": [32], **changes})


def names(bf16: bool = True, **changes: Any) -> list[str]:
    return [saver.name for saver in list_memory_savers(config(**changes), bf16)]


def test_savers_are_ordered_by_their_cost_in_speed() -> None:
    assert names() == [
        "expandable segments",
        "fused optimizer",
        "amp-bf16",
        "optimizer in backward",
        "accumulate 2 passes of 16",
        "accumulate 4 passes of 8",
        "accumulate 8 passes of 4",
        "checkpoint half the blocks",
        "checkpoint all blocks",
        "accumulate 16 passes of 2",
        "accumulate 32 passes of 1",
    ]
    costs = [saver.cost.split(":")[0].split()[0] for saver in list_memory_savers(config(), bf16=True)]
    assert costs == ["none"] * 3 + ["little"] + ["some"] * 3 + ["more"] * 2 + ["some"] * 2


@pytest.mark.parametrize(
    ("changes", "gone"),
    [
        ({"allocator": "max_split_size_mb:64"}, "expandable segments"),
        ({"precision": "bf16"}, "amp-bf16"),
        ({"optimizers": [{"name": "adam", "kwargs": {"foreach": True}}]}, "fused optimizer"),
        ({"optimizer_in_backward": True}, "optimizer in backward"),
        ({"activation_checkpointing": 1}, "checkpoint all blocks"),
    ],
)
def test_setting_of_the_config_is_no_saver(changes: dict[str, Any], gone: str) -> None:
    assert gone in names()
    assert gone not in names(**changes)


def test_gradients_kept_as_zeros_are_the_first_saver() -> None:
    assert names(set_to_none=False)[0] == "zero_grad to none"


def test_optimizer_without_a_fused_form_goes_without_foreach() -> None:
    found = names(optimizers=["rmsprop"])
    assert "optimizer without foreach" in found
    assert "fused optimizer" not in found


def test_gpu_without_bfloat16_gets_float16() -> None:
    assert "amp-fp16" in names(bf16=False)
    assert "amp-bf16" not in names(bf16=False)


def test_inference_has_only_savers_that_do_not_train() -> None:
    assert names(mode="inference") == ["expandable segments", "amp-bf16"]


@pytest.mark.parametrize(
    ("batch_size", "parts"),
    [
        (1, []),
        (7, [7]),
        (12, [2, 4, 12]),
        (15, [3, 15]),
        (96, [2, 4, 8, 16, 32, 96]),
        (2**20, [2, 4, 8, 16, 32, 64, 128, 256]),
    ],
)
def test_batch_is_only_split_into_equal_parts(batch_size: int, parts: list[int]) -> None:
    savers = list_memory_savers(config(batch_sizes=[batch_size], gradient_accumulation=3), bf16=True)
    settings = [
        {s.key: int(s.value) for s in saver.settings} for saver in savers if saver.name.startswith("accumulate")
    ]
    assert [found["gradient_accumulation"] for found in settings] == [3 * part for part in parts]
    assert all(found["gradient_accumulation"] * found["batch_size"] == 3 * batch_size for found in settings)


def test_merged_settings_have_the_last_saver_of_a_key() -> None:
    by_name = {saver.name: saver for saver in list_memory_savers(config(), bf16=True)}
    chosen = ("amp-bf16", "optimizer in backward", "accumulate 2 passes of 16", "accumulate 4 passes of 8")
    assert [str(setting) for setting in merged_settings([by_name[name] for name in chosen])] == [
        "precision=amp-bf16",
        "gradient_accumulation=4",
        "batch_size=8",
    ]


@pytest.mark.parametrize("batch_norm", [True, False])
def test_savers_name_batch_norm_only_if_the_model_has_one(batch_norm: bool) -> None:
    costs = {saver.cost for saver in list_memory_savers(config(), True, batch_norm) if saver.name.startswith("acc")}
    more = "; BatchNorm sees fewer samples" if batch_norm else ""
    assert costs == {f"some: smaller kernels{more}"}


def test_own_checkpointing_leaves_out_checkpointed_blocks() -> None:
    assert not any(name.startswith("checkpoint") for name in names(gradient_checkpointing=True))
