"""Adapters of peft: which parameters are trained, in which dtype and on which device, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from memprof.config.schema import SweepConfig
from memprof.errors import WorkloadError
from memprof.workload.adapters import add_adapter, check_targets
from memprof.workload.models import build_model
from memprof.workload.optimizers import build_optimizer
from tests.samples import sample_config

LLAMA = {
    "name": "transformers:LlamaForCausalLM",
    "kwargs": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 128,
    },
}
INPUT = {"input_ids": {"shape": [8], "dtype": "int64"}, "labels": {"shape": [8], "dtype": "int64"}}


def config(**changes: Any) -> SweepConfig:
    return sample_config(**{"model": LLAMA, "input": INPUT, "target": None, "loss": "output", **changes})


def needs(*packages: str) -> None:
    for package in packages:
        pytest.importorskip(package, reason=f"{package} is not installed (the extra is `hub`)")


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("method", ["lora", "LoraConfig", "LORA"])
def test_add_adapter_lora_trains_two_matrices_per_target(method: str) -> None:
    needs("peft", "transformers")
    asked = config(adapter={method: {"r": 4, "target_modules": ["q_proj", "v_proj"]}}, precision="bf16")
    found = trained(build_model(asked, Path()))
    assert len(found) == 2 * 2 * 2
    assert {parameter.dtype for parameter in found.values()} == {torch.float32}
    # q: 4*64 + 64*4, v: 4*64 + 32*4, in two layers.
    assert sum(parameter.numel() for parameter in found.values()) == 2 * (4 * 64 + 64 * 4 + 4 * 64 + 32 * 4)


def test_add_adapter_without_autocast_keeps_dtype_of_weights() -> None:
    needs("peft", "transformers")
    kwargs = {"r": 4, "target_modules": ["q_proj"], "autocast_adapter_dtype": False}
    found = trained(build_model(config(adapter={"lora": kwargs}, precision="bf16"), Path()))
    assert {parameter.dtype for parameter in found.values()} == {torch.bfloat16}


@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")  # peft's, of transformers
@pytest.mark.parametrize(
    "adapter",
    [
        "ia3",
        {"vera": {"r": 8, "target_modules": ["q_proj"]}},
        {"loha": {"r": 4, "target_modules": ["q_proj"]}},
        {"oft": {"target_modules": ["q_proj"]}},
        {"prefix_tuning": {"num_virtual_tokens": 4}},
        {"prompt_tuning": {"num_virtual_tokens": 4}},
    ],
)
def test_add_adapter_other_methods_train_little(adapter: Any) -> None:
    needs("peft", "transformers")
    model = build_model(config(adapter=adapter), Path())
    counts = [
        sum(parameter.numel() for parameter in parameters)
        for parameters in (trained(model).values(), model.parameters())
    ]
    assert 0 < counts[0] < counts[1] / 4
    loss = model(input_ids=torch.zeros(2, 8, dtype=torch.int64), labels=torch.zeros(2, 8, dtype=torch.int64)).loss
    loss.backward()
    assert all(parameter.grad is not None for parameter in trained(model).values())


def test_add_adapter_on_meta_takes_no_host_memory() -> None:
    needs("peft", "transformers")
    asked = config(adapter={"lora": {"target_modules": ["q_proj"]}})
    with torch.device("meta"):
        base = build_model(config(), Path())
    adapted = add_adapter(base.to("meta"), asked)
    assert all(parameter.is_meta for parameter in adapted.parameters())
    assert len(trained(adapted)) == 4


@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")  # peft's, of transformers
def test_prompt_of_a_meta_model_has_values_for_its_tokens() -> None:
    needs("peft", "transformers")
    with torch.device("meta"):
        base = build_model(config(), Path())
    adapted = add_adapter(base.to("meta"), config(adapter={"prompt_tuning": {"num_virtual_tokens": 4}}))
    [tokens] = adapted.prompt_tokens.values()  # type: ignore[operator]
    assert tokens.tolist() == [0, 1, 2, 3]


def test_freeze_after_adapter_can_train_base_weights_too() -> None:
    needs("peft", "transformers")
    lora = {"lora": {"target_modules": ["q_proj"]}}
    model = build_model(config(adapter=lora, freeze=["*lora_A*", "!*.norm.weight"]), Path())
    assert [name.rpartition("model.")[2] for name in trained(model)] == [
        "layers.0.self_attn.q_proj.lora_B.default.weight",
        "layers.1.self_attn.q_proj.lora_B.default.weight",
        "norm.weight",
    ]


def test_optimizer_gets_only_what_is_trained() -> None:
    from memprof.config.schema import OptimizerConfig
    from memprof.workload.frozen import freeze, trained_parameters

    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    freeze(model, ["0.*"])
    optimizer = build_optimizer(OptimizerConfig(name="adam"), trained_parameters(model))
    assert [len(group["params"]) for group in optimizer.param_groups] == [2]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            {"target_modules": ["q_prj"]},
            "adapter 'lora': target_modules: 'q_prj' matches no module of the model; did you mean q_proj?",
        ),
        (
            {"target_modules": ["c_attn"]},
            "adapter 'lora': target_modules: 'c_attn' matches no module of the model; modules of this model are q_proj",
        ),
        ({"modules_to_save": ["head"]}, "adapter 'lora': modules_to_save: 'head' matches no module of the model"),
    ],
)
def test_check_targets_names_a_module_that_exists(arguments: dict[str, Any], text: str) -> None:
    model = nn.ModuleDict({"attention": nn.ModuleDict({"q_proj": nn.Linear(2, 2)}), "norm": nn.LayerNorm(2)})
    check_targets(model, "lora", {"target_modules": ["q_proj", "attention.q_proj"]})
    check_targets(model, "lora", {"target_modules": "all-linear"})
    with pytest.raises(WorkloadError) as caught:
        check_targets(model, "lora", arguments)
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    ("adapter", "text"),
    [
        ({"lra": {}}, r"adapter 'lra' is no method of peft .*; did you mean lora\?"),
        ({"lora": {"rank": 4}}, r"adapter 'lora' cannot be added: TypeError: .*'rank'"),
        (
            {"lora": {"target_modules": ".*attn_proj"}},
            r"adapter 'lora' cannot be added: .*attn_proj not found .*; modules of",
        ),
    ],
)
def test_add_adapter_refuses_in_one_line(adapter: Any, text: str) -> None:
    needs("peft", "transformers")
    with pytest.raises(WorkloadError, match=text) as caught:
        build_model(config(adapter=adapter), Path())
    assert "\n" not in str(caught.value)


def test_add_adapter_without_peft_names_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    asked = sample_config(adapter="lora")
    with pytest.raises(WorkloadError, match=r"adapter: needs peft: .*; run: pip install peft"):
        add_adapter(nn.Linear(2, 2), asked)
