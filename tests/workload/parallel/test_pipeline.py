"""Cutting a model into stages: what each one has, and which models are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from memprof.config.schema import SweepConfig
from memprof.errors import WorkloadError
from memprof.workload import build_model
from memprof.workload.parallel.pipeline import cut_stage, find_trunk
from tests.paths import CONFIGS

FOLDER = CONFIGS / "parallel"
LLAMA = {"layers": 4, "size": 64, "heads": 8, "kv_heads": 4, "hidden": 96, "vocab": 128}
TOKENS = {"shape": [16], "dtype": "int64"}


def config(stages: int = 2, **changes: Any) -> SweepConfig:
    settings = {
        "name": "x",
        "model": {"name": "llama.py:build", "kwargs": LLAMA},
        "input": {"tokens": TOKENS, "labels": TOKENS},
        "loss": "output",
        "parallel": {"mesh": {"pipeline": stages}},
    }
    return SweepConfig.model_validate({**settings, **changes})


def names_of_stage(stage: int) -> set[str]:
    model = build_model(config(), FOLDER)
    cut_stage(model, config(), stage, 2)
    return {name for name, _ in model.named_parameters()}


def test_stages_share_all_parameters() -> None:
    first, last = names_of_stage(0), names_of_stage(1)
    assert "tok_embeddings.weight" in first - last
    assert {"norm.weight", "output.weight"} <= last - first
    blocks = {name for name in first | last if name.startswith("layers.")}
    assert blocks == first & last  # each stage numbers its two blocks from 0
    assert {name.split(".")[1] for name in blocks} == {"0", "1"}


def test_stage_passes_on_the_residual_stream() -> None:
    first, last = (build_model(config(), FOLDER).to_empty(device="cpu") for _ in range(2))
    cut_stage(first, config(), 0, 2)
    cut_stage(last, config(), 1, 2)
    tokens = torch.zeros(2, 16, dtype=torch.int64)
    between = first(tokens)
    assert between.shape == (2, 16, 64)
    assert last(between, labels=tokens).shape == (1,)


def test_blocks_that_stages_do_not_divide_are_refused() -> None:
    with pytest.raises(WorkloadError, match=r"^parallel.mesh.pipeline: 3 does not divide the 4 blocks of layers$"):
        build_model(config(3), FOLDER)


def test_model_without_embedding_is_refused() -> None:
    vision = config(model="torchvision:vit_b_16", input={"shape": [3, 224, 224]}, loss="sum")
    with pytest.raises(WorkloadError, match="'torchvision:vit_b_16' cannot be cut into stages"):
        build_model(vision, FOLDER)


def test_trunk_is_the_list_of_all_blocks() -> None:
    assert find_trunk(build_model(config(), FOLDER), 4, "llama") == "layers"
