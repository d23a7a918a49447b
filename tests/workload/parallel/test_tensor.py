"""The plan of tensor parallelism: what it splits, and what it refuses before any rank runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from memprof.config.schema import SweepConfig
from memprof.errors import WorkloadError
from memprof.workload import build_model
from memprof.workload.parallel.tensor import find_plan
from tests.paths import CONFIGS

FOLDER = CONFIGS / "parallel"
LLAMA = {"layers": 2, "size": 64, "heads": 8, "kv_heads": 4, "hidden": 96, "vocab": 128}
HF_LLAMA = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "vocab_size": 128,
}


def config_of(model: Any, **parallel: Any) -> SweepConfig:
    tokens = {"shape": ["seq_len"], "dtype": "int64"}
    inputs = {"tokens": tokens, "labels": tokens} if model["name"].startswith("llama") else {"input_ids": tokens}
    section = {"name": "x", "model": model, "input": inputs, "sizes": {"seq_len": 16}, "loss": "output"}
    return SweepConfig.model_validate({**section, "parallel": parallel})


def own_llama(**parallel: Any) -> SweepConfig:
    return config_of({"name": "llama.py:build", "kwargs": LLAMA}, **parallel)


def styles(config: SweepConfig, ranks: int = 2) -> dict[str, str]:
    model = build_model(config, FOLDER)
    return {path: type(style).__name__ for path, style in find_plan(model, config, ranks, FOLDER).items()}


def test_plan_pairs_columns_with_rows() -> None:
    found = styles(own_llama(mesh={"tensor": 2}, tensor={"sequence_parallel": False}))
    block = {path.removeprefix("layers.1."): style for path, style in found.items() if path.startswith("layers.1.")}
    columns = ["attention.wq", "attention.wk", "attention.wv", "feed_forward.w1", "feed_forward.w3"]
    rows = ["attention.wo", "feed_forward.w2"]
    norms = dict.fromkeys(["attention_norm", "ffn_norm"], "_Whole")
    assert block == {**dict.fromkeys(columns, "ColwiseParallel"), **dict.fromkeys(rows, "RowwiseParallel"), **norms}
    assert (found["tok_embeddings"], found["output"]) == ("RowwiseParallel", "ColwiseParallel")


def test_plan_with_sequence_splits_norms() -> None:
    found = styles(own_llama(mesh={"tensor": 2}))
    norms = {path for path, style in found.items() if style == "SequenceParallel"}
    assert norms == {"norm", *(f"layers.{i}.{name}" for i in (0, 1) for name in ("attention_norm", "ffn_norm"))}
    assert found["layers.0.attention"] == "_GatherSequence"


def test_plan_knows_names_of_transformers() -> None:
    pytest.importorskip("transformers")
    found = styles(config_of({"name": "transformers:LlamaForCausalLM", "kwargs": HF_LLAMA}, mesh={"tensor": 2}))
    assert found["model.layers.0.self_attn.q_proj"] == "ColwiseParallel"
    assert found["model.layers.1.mlp.down_proj"] == "RowwiseParallel"
    assert found["model.norm"] == found["model.layers.0.input_layernorm"] == "SequenceParallel"
    assert {"model.embed_tokens", "lm_head"} <= found.keys()


def test_parallel_model_has_no_host_memory() -> None:
    assert all(p.is_meta for p in build_model(own_llama(mesh={"shard": 8}), FOLDER).parameters())


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (own_llama(mesh={"tensor": 8}), "tensor: 8 does not divide the 4 key-value heads of layers.0.attention"),
        (own_llama(mesh={"tensor": 3}), "tensor: 3 does not divide the 8 attention heads of layers.0.attention"),
        (
            own_llama(mesh={"tensor": 4}).model_copy(update={"sizes": {"seq_len": 6}}),
            "tensor: 4 does not divide the seq",
        ),
        (own_llama(mesh={"context": 3}), "context: 2 × 3 does not divide the sequence of"),
    ],
)
def test_mesh_that_does_not_divide_is_refused(config: SweepConfig, problem: str) -> None:
    with pytest.raises(WorkloadError, match=rf"^parallel.mesh.{problem}"):
        build_model(config, FOLDER)


def test_plan_that_matches_nothing_is_refused() -> None:
    config = SweepConfig.model_validate(
        {"name": "x", "model": "mnist_mlp", "input": {"shape": [1, 28, 28]}, "loss": "sum"}
        | {"parallel": {"mesh": {"tensor": 2}}}
    )
    with pytest.raises(WorkloadError, match="auto matches no layer of model 'mnist_mlp'"):
        build_model(config, Path())


def test_model_without_blocks_names_wrap_root() -> None:
    settings = {"name": "x", "model": "mnist_mlp", "input": {"shape": [1, 28, 28]}, "loss": "sum"}
    config = SweepConfig.model_validate({**settings, "parallel": {"mesh": 8}})
    with pytest.raises(WorkloadError, match="write wrap: root"):
        build_model(config, Path())
    whole = SweepConfig.model_validate({**settings, "parallel": {"mesh": 8, "fsdp": {"wrap": "root"}}})
    assert isinstance(build_model(whole, Path()), torch.nn.Module)
