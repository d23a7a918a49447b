"""The plan for expert parallelism: that of transformers' models, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from memprof.config.schema import SweepConfig
from memprof.errors import WorkloadError
from memprof.workload import build_model
from memprof.workload.parallel.expert import find_expert_plan
from tests.paths import CONFIGS

TOKENS = {"shape": [16], "dtype": "int64", "range": [0, 128]}
SIZES = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1, "vocab_size": 128}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 8}


def mixtral(ranks: int) -> SweepConfig:
    settings: dict[str, Any] = {
        "name": "x",
        "model": {"name": "transformers:MixtralForCausalLM", "kwargs": {**SIZES, **HEADS}},
        "input": {"input_ids": TOKENS, "labels": TOKENS},
        "loss": "output",
        "routing": "balanced",
        "parallel": {"mesh": {"expert": ranks}},
    }
    return SweepConfig.model_validate(settings)


def test_plan_has_the_experts_of_each_layer() -> None:
    pytest.importorskip("transformers")
    plan = find_expert_plan(build_model(mixtral(4), CONFIGS), 4, "x")
    assert plan["model.layers.0.mlp.experts"] == "ep_dispatch_experts"
    assert plan["model.layers.0.mlp.experts.down_proj"] == "grouped_gemm"


def test_ranks_that_do_not_divide_the_experts_are_refused() -> None:
    pytest.importorskip("transformers")
    with pytest.raises(
        WorkloadError, match=r"^parallel.mesh.expert: 3 does not divide the 8 experts of model.layers.0"
    ):
        build_model(mixtral(3), CONFIGS)


def test_model_without_a_plan_is_refused() -> None:
    with pytest.raises(WorkloadError, match=r"^parallel.mesh.expert: model 'net' has no plan for expert parallelism"):
        find_expert_plan(nn.Linear(2, 2), 2, "net")
