"""Estimates of transformers' models that look at positions, against the peaks of the same steps on a phantom."""

from __future__ import annotations

from typing import Any

import pytest

import memprof
from memprof.gpus.select import Device

pytest.importorskip("transformers", reason="transformers is not installed (the extra is `hub`)")

LLAMA: dict[str, Any] = {
    "model": {
        "name": "transformers:LlamaForCausalLM",
        "kwargs": {
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": 320,
        },
    },
    "sizes": {"seq_len": 256},
    "precision": "bf16",
}
NO_CACHE: dict[str, Any] = {"model": {**LLAMA["model"], "kwargs": {**LLAMA["model"]["kwargs"], "use_cache": False}}}
# Positions at random: to transformers these are packed sequences, which need a mask.
PACKED: dict[str, Any] = {
    "input": {
        name: {"shape": [256], "dtype": "int64", "range": [0, most]}
        for name, most in {"input_ids": 320, "labels": 320, "position_ids": 256}.items()
    }
}
CASES: dict[str, dict[str, Any]] = {
    "without a cache": NO_CACHE,
    "gradient checkpointing": {"gradient_checkpointing": True},
    "packed": {**NO_CACHE, **PACKED},
}


@pytest.fixture(scope="module")
def peaks(phantom_device_h100: Device) -> dict[str, tuple[int, int]]:
    """The estimated and the emulated peak of each case at batch 8."""
    found = {}
    for name, case in CASES.items():
        config = {**LLAMA, **case}
        answer = memprof.sweep(config, gpu=phantom_device_h100.name, batch_sizes=[8], optimizers=["adamw"])
        (row,) = answer.frame.to_dict("records")
        found[name] = row["analytic_peak_bytes"], row["peak_allocated_bytes"]
    return found


@pytest.mark.parametrize("name", CASES)
def test_estimate_has_the_masks_of_the_run(peaks: dict[str, tuple[int, int]], name: str) -> None:
    estimated, emulated = peaks[name]
    assert estimated == emulated
