"""Quantized layers: which ones are replaced, in which form, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from memprof.config.schema import SweepConfig
from memprof.errors import WorkloadError
from memprof.workload.models import build_model
from memprof.workload.quantization import compute_dtype, quantize
from tests.samples import sample_config

FOUR = {"bits": 4}


def config(**changes: Any) -> SweepConfig:
    return sample_config(**{"quantization": FOUR, **changes})


def library() -> Any:
    return pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed (the extra is `hub`)")


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Sequential(nn.Linear(64, 32)), nn.Linear(32, 8))


def kinds(model: nn.Module) -> dict[str, str]:
    return {path: type(part).__name__ for path, part in model.named_modules() if hasattr(part, "weight")}


@pytest.mark.parametrize(
    ("changes", "dtype"),
    [
        ({"precision": "bf16"}, torch.bfloat16),
        ({"precision": "amp-bf16"}, torch.bfloat16),
        ({"precision": "amp-fp16"}, torch.float16),
        ({"precision": "fp32"}, torch.float32),
        ({"precision": "fp32", "quantization": {"bits": 4, "compute_dtype": "float16"}}, torch.float16),
    ],
)
def test_compute_dtype_is_that_of_the_precision(changes: dict[str, Any], dtype: torch.dtype) -> None:
    assert compute_dtype(config(**changes)) == dtype


@pytest.mark.parametrize(
    ("skip", "replaced"),
    [(None, {"0", "2.0"}), ([], {"0", "2.0", "3"}), (["2"], {"0", "3"}), (["0"], {"3"}), (["2.0", "3"], {"0"})],
)
def test_quantize_replaces_layers_that_are_not_skipped(skip: list[str] | None, replaced: set[str]) -> None:
    library()
    spec = {"bits": 4} if skip is None else {"bits": 4, "skip": skip}
    found = kinds(quantize(network(), config(quantization=spec)))
    assert {path for path, kind in found.items() if kind == "Linear4bit"} == replaced
    assert {kind for path, kind in found.items() if path not in replaced} <= {"Linear"}


@pytest.mark.parametrize(
    ("bits", "layer", "weight"), [(4, "Linear4bit", "Params4bit"), (8, "Linear8bitLt", "Int8Params")]
)
def test_quantize_freezes_weights_and_keeps_their_values(bits: int, layer: str, weight: str) -> None:
    library()
    model = network()
    before: Any = model[0].weight  # type: ignore[index]
    quantize(model, config(quantization={"bits": bits}))
    first: Any = model[0]  # type: ignore[index]
    assert (type(first).__name__, type(first.weight).__name__) == (layer, weight)
    assert not first.weight.requires_grad
    assert not first.bias.requires_grad
    assert torch.equal(first.weight.data, before.data)
    assert getattr(model, f"is_loaded_in_{bits}bit")


def test_quantize_leaves_output_layer_of_transformers() -> None:
    library()
    pytest.importorskip("transformers", reason="transformers is not installed (the extra is `hub`)")
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_hidden_layers": 1}
    llama = {"name": "transformers:LlamaForCausalLM", "kwargs": {**sizes, "vocab_size": 128}}
    model = build_model(config(model=llama), Path())
    found = kinds(model)
    assert found["lm_head"] == "Linear"
    assert [path for path, kind in found.items() if kind == "Linear4bit"] == [
        *(f"model.layers.0.self_attn.{name}_proj" for name in "qkvo"),
        *(f"model.layers.0.mlp.{name}_proj" for name in ("gate", "up", "down")),
    ]


def test_quantize_leaves_subclasses_of_linear() -> None:
    library()
    model = nn.ModuleDict({"attention": nn.MultiheadAttention(8, 2), "fc": nn.Linear(8, 8), "head": nn.Linear(8, 8)})
    quantize(model, config())
    assert kinds(model)["attention.out_proj"] == "NonDynamicallyQuantizableLinear"
    assert kinds(model)["fc"] == "Linear4bit"


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (nn.Conv2d(1, 1, 1), "quantization: model 'mnist_mlp' has no nn.Linear layer to quantize"),
        (
            nn.Sequential(nn.Linear(2, 2)),
            "quantization: model 'mnist_mlp' has no nn.Linear layer to quantize: 0 stay as they are (skip: ['0'])",
        ),
    ],
)
def test_quantize_without_layers_is_refused(model: nn.Module, text: str) -> None:
    library()
    with pytest.raises(WorkloadError) as caught:
        quantize(model, config())
    assert str(caught.value) == text


def test_quantize_without_bitsandbytes_names_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(WorkloadError, match=r"quantization: needs bitsandbytes: .*; run: pip install bitsandbytes"):
        quantize(network(), config())


def test_quantize_without_setting_changes_nothing() -> None:
    model = network()
    assert kinds(quantize(model, sample_config())) == dict.fromkeys(("0", "2.0", "3"), "Linear")
