"""Fine-tuning on a phantom: what is on the device equals the analytic estimate, category by category."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import pytest

RUNS = """
import json, os, sys, warnings
from importlib.util import find_spec
from pathlib import Path
warnings.simplefilter("ignore")
import torch
from memprof.config.schema import SweepConfig
from memprof.gpus.catalog import find_gpu
from memprof.gpus.traits import traits_of
from memprof.measure.estimate import estimate
from memprof.measure.explaining import measure_and_explain
from memprof.worker.finetuning_imports import cuda_answered_by_nvml
from memprof.workload import build_model

H100 = traits_of(find_gpu("h100-80gb"))
IMAGES = dict(name="x", model="mnist_cnn", input=dict(shape=[1, 28, 28]), loss="nll_loss",
              target=dict(shape=[], dtype="int64", range=[0, 10]), optimizers=["adamw"], batch_sizes=[8],
              batch="resident")
LLAMA = dict(hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, vocab_size=1024)
TOKENS = dict(name="x", model=dict(name="transformers:LlamaForCausalLM", kwargs=LLAMA), loss="output",
              input={name: dict(shape=[64], dtype="int64") for name in ("input_ids", "labels")},
              optimizers=["adamw"], batch_sizes=[2], batch="resident")

def result(case):
    config = SweepConfig.model_validate({**(TOKENS if case.pop("hub", False) else IMAGES), **case})
    point, device = config.points()[0], torch.device("cuda", 0)
    breakdown = estimate(build_model(config, Path()), config, [point], H100)[0]
    outcome, explanation = measure_and_explain(build_model(config, Path()), config, *point, device)
    if explanation is None:
        return {"error": outcome.error}
    parts = ("parameters", "buffers", "gradients", "optimizer_state", "input", "activations")
    return {
        "error": outcome.error,
        "analytic": {part: getattr(breakdown, part + "_bytes") for part in parts},
        "emulated": {part: explanation.highest_parts[part] for part in parts},
        "peaks": [breakdown.peak_bytes, explanation.peak_allocated_bytes],
        "unknown": explanation.highest_parts["unknown"],
    }

torch.set_num_threads(1)
torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])  # imports torch's compiler
with cuda_answered_by_nvml():  # the libraries are imported once, before the forks
    for package in ("transformers", "peft", "bitsandbytes"):
        if find_spec(package):
            __import__(package)
if find_spec("transformers"):
    from transformers import LlamaForCausalLM

found = {}
for name, case in json.loads(sys.stdin.read()).items():
    pipe = os.pipe()
    if os.fork() == 0:
        os.write(pipe[1], json.dumps(result(case)).encode())
        os._exit(0)
    os.close(pipe[1])
    found[name] = json.loads(os.fdopen(pipe[0]).read() or "{}")
    os.wait()
print(json.dumps(found))
"""
PACKAGES = ("transformers", "peft", "bitsandbytes")
LORA = {"lora": {"r": 4, "target_modules": ["q_proj", "v_proj"]}}
IMAGENET = {"input": {"shape": [3, 64, 64]}, "loss": "cross_entropy"}
CASES: Mapping[str, Mapping[str, Any]] = {
    "as built": {},
    "frozen convolutions": {"freeze": ["conv*"]},
    "only the head": {"freeze": ["*", "!fc2.*"]},
    "frozen, with a fused optimizer": {
        "freeze": ["conv*"],
        "optimizers": [{"name": "adamw", "kwargs": {"fused": True}}],
    },
    "moving average": {
        "ema": {"decay": 0.99, "use_buffers": True},
        "model": "torchvision:resnet18",
        **IMAGENET,
    },
    "clipped, with a scheduler": {"clip_grad_norm": 1.0, "scheduler": "cosineannealinglr", "precision": "amp-fp16"},
    "scheduler in backward": {"scheduler": "steplr", "optimizer_in_backward": True, "optimizers": ["sgd"]},
}
HUB_CASES: Mapping[str, Mapping[str, Any]] = {
    "lora": {"hub": True, "adapter": LORA},
    "lora in bf16": {"hub": True, "adapter": LORA, "precision": "bf16"},
    "lora with checkpointing": {"hub": True, "adapter": LORA, "precision": "bf16", "gradient_checkpointing": True},
    "ia3": {"hub": True, "adapter": "ia3", "precision": "amp-bf16"},
    "checkpointing": {"hub": True, "gradient_checkpointing": True},
    "4 bits": {"hub": True, "adapter": LORA, "quantization": {"bits": 4}, "precision": "bf16"},
    "4 bits, scales too": {"hub": True, "adapter": LORA, "quantization": {"bits": 4, "double_quant": True}},
    "4 bits under autocast": {"hub": True, "adapter": LORA, "quantization": {"bits": 4}, "precision": "amp-bf16"},
    "8 bits": {"hub": True, "adapter": LORA, "quantization": {"bits": 8}, "precision": "fp16"},
    "8-bit optimizer": {"hub": True, "optimizers": ["bitsandbytes:AdamW8bit"], "precision": "bf16"},
}


def missing(*packages: str) -> list[str]:
    return [package for package in packages if find_spec(package) is None]


def hub_case(name: str) -> Any:
    without = missing(*PACKAGES)
    reason = f"not installed: {', '.join(without)}; pip install -e '.[hub]'"
    return pytest.param(name, marks=pytest.mark.skipif(bool(without), reason=reason))


@pytest.fixture(scope="module")
def found(run_on_phantom: Callable[..., Any]) -> Mapping[str, Any]:
    cases = {**CASES, **({} if missing(*PACKAGES) else HUB_CASES)}
    done = run_on_phantom(RUNS.replace("sys.stdin.read()", repr(json.dumps(cases))))
    assert done.returncode == 0, done.stderr
    results: Mapping[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return results


@pytest.mark.parametrize("name", [*CASES, *(hub_case(name) for name in HUB_CASES)])
def test_finetuning_estimate_equals_bytes_on_device(found: Mapping[str, Any], name: str) -> None:
    case = found[name]
    assert case["error"] is None
    assert case["unknown"] == 0
    exact: Sequence[str] = ("parameters", "buffers", "gradients", "optimizer_state", "input")
    expected = {part: case["analytic"][part] for part in exact}
    if name == "scheduler in backward":  # a gradient is freed after the next one exists
        assert expected.pop("gradients") <= case["emulated"]["gradients"]
        exact = tuple(expected)
    if name == "lora with checkpointing":  # transformers makes the embedding's output a leaf, which has a gradient
        expected["gradients"] += 2 * 64 * 256 * 2
    if name == "4 bits, scales too":  # the table of 256 values that bitsandbytes makes once
        expected["parameters"] += 256 * 4
    assert expected == {part: case["emulated"][part] for part in exact}


def test_moving_average_is_a_second_copy_of_the_weights(found: Mapping[str, Any]) -> None:
    emulated = found["moving average"]["emulated"]
    assert emulated["parameters"] == 2 * emulated["gradients"]
    assert emulated["buffers"] > 0


@pytest.mark.parametrize("name", [hub_case("lora"), "only the head"])
def test_frozen_parameters_have_no_gradients_and_no_state(found: Mapping[str, Any], name: str) -> None:
    emulated = found[name]["emulated"]
    assert 0 < emulated["gradients"] < emulated["parameters"] / 10
    assert emulated["optimizer_state"] == 2 * emulated["gradients"]


def test_frozen_layers_before_the_head_keep_no_activations(found: Mapping[str, Any]) -> None:
    whole, head = (found[name]["emulated"]["activations"] for name in ("as built", "only the head"))
    assert 0 < head < whole / 4
    assert found["only the head"]["analytic"]["activations"] < whole / 4


PAGED = """
import json, torch
from memprof.config.schema import OptimizerConfig, SweepConfig
from memprof.measure.optimizer_step import make_optimizer

config = SweepConfig(name="x", model="mnist_mlp", input=dict(shape=[1, 28, 28]), loss="sum")
found = {}
for name in ("AdamW8bit", "PagedAdamW8bit"):
    model = torch.nn.Linear(2048, 1024, bias=False, device="cuda")
    optimizer = make_optimizer(model, config, OptimizerConfig(name="bitsandbytes:" + name))
    model.weight.grad = torch.zeros_like(model.weight)
    before, (free, _) = torch.cuda.memory_allocated(), torch.cuda.mem_get_info()
    reserved = torch.cuda.memory_reserved()
    optimizer.step(torch.amp.GradScaler(enabled=False))
    state = optimizer.parts[0].state[model.weight]
    found[name] = {
        "allocated": torch.cuda.memory_allocated() - before,
        "managed": free - torch.cuda.mem_get_info()[0] - (torch.cuda.memory_reserved() - reserved),
        "first": state["state1"].view(-1)[:4].tolist(),
    }
    del model, optimizer, state
print(json.dumps(found))
"""


@pytest.mark.skipif(bool(missing("bitsandbytes")), reason="not installed: bitsandbytes; pip install -e '.[hub]'")
def test_paged_optimizer_keeps_its_state_in_managed_memory(run_on_phantom: Callable[..., Any]) -> None:
    done = run_on_phantom(PAGED)
    found = json.loads(done.stdout.splitlines()[-1])
    weights = 2048 * 1024
    assert found["AdamW8bit"]["managed"] == 0
    assert found["AdamW8bit"]["allocated"] - found["PagedAdamW8bit"]["allocated"] == 2 * weights
    assert found["PagedAdamW8bit"]["managed"] == 2 * weights
    assert found["PagedAdamW8bit"]["first"] == [0, 0, 0, 0]
