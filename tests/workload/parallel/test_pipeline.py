"""Cutting a model into stages: what each one has, and which models are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from memprof.config.schema import SweepConfig
from memprof.errors import WorkloadError
from memprof.workload import build_model
from memprof.workload.parallel.pipeline import cut_stages, find_trunk, stages_in
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
    assert cut_stages(model, config(), [stage], 2) is model
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
    cut_stages(first, config(), [0], 2)
    cut_stages(last, config(), [1], 2)
    tokens = torch.zeros(2, 16, dtype=torch.int64)
    between = first(tokens)
    assert between.shape == (2, 16, 64)
    assert last(between, labels=tokens).shape == (1,)


def test_rank_with_first_and_last_stage_has_both_ends() -> None:
    model = build_model(config(), FOLDER).to_empty(device="cpu")
    whole = {name for name, _ in model.named_parameters()}
    first, last = stages_in(cut_stages(model, config(), [0, 3], 4))
    names = [
        {name for name, _ in part.named_parameters() if not name.startswith("layers.0.")} for part in (first, last)
    ]
    assert names == [{"tok_embeddings.weight"}, {"norm.weight", "output.weight"}]
    assert {name for name in whole if name.startswith("layers.0.")} <= {name for name, _ in last.named_parameters()}
    tokens = torch.zeros(2, 16, dtype=torch.int64)
    assert first(tokens, labels=tokens).shape == (2, 16, 64)  # a schedule hands the labels to both


@pytest.mark.parametrize(
    ("schedule", "held"),
    [("1F1B", (1,)), ("Interleaved1F1B", (1, 5)), ("InterleavedZeroBubble", (1, 5)), ("ZBVZeroBubble", (1, 6))],
)
def test_schedule_places_stages_on_ranks(schedule: str, held: tuple[int, ...]) -> None:
    parallel = config(parallel={"mesh": {"pipeline": 4}, "pipeline": {"schedule": schedule}}).parallel
    assert parallel is not None
    assert parallel.pipeline.stages_of(1, 4) == held


def test_blocks_that_stages_do_not_divide_are_refused() -> None:
    with pytest.raises(WorkloadError, match=r"^parallel.mesh.pipeline: 3 does not divide the 4 blocks of layers$"):
        build_model(config(3), FOLDER)


def test_model_without_embedding_is_refused() -> None:
    vision = config(model="torchvision:vit_b_16", input={"shape": [3, 224, 224]}, loss="sum")
    with pytest.raises(WorkloadError, match="'torchvision:vit_b_16' cannot be cut into stages"):
        build_model(vision, FOLDER)


def test_trunk_is_the_list_of_all_blocks() -> None:
    assert find_trunk(build_model(config(), FOLDER), 4, "llama") == "layers"
