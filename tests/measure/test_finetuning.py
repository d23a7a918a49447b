"""Fine-tuning on a phantom: what is on the device equals the analytic estimate, category by category."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

import pytest

RUNS = """
import json, os, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import torch
from memprof.breakdown.analytic import break_down
from memprof.config.schema import SweepConfig
from memprof.measure.explaining import measure_and_explain
from memprof.workload import build_model

IMAGES = dict(name="x", model="mnist_cnn", input=dict(shape=[1, 28, 28]), loss="nll_loss",
              target=dict(shape=[], dtype="int64", range=[0, 10]), optimizers=["adamw"], batch_sizes=[8])
LLAMA = dict(hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, vocab_size=1024)
TOKENS = dict(name="x", model=dict(name="transformers:LlamaForCausalLM", kwargs=LLAMA), loss="output",
              input={name: dict(shape=[64], dtype="int64") for name in ("input_ids", "labels")},
              optimizers=["adamw"], batch_sizes=[2])

def result(case):
    config = SweepConfig.model_validate({**(TOKENS if case.pop("hub", False) else IMAGES), **case})
    point, device = config.points()[0], torch.device("cuda", 0)
    breakdown = break_down(build_model(config, Path()), config, [point])[0]
    outcome, explanation = measure_and_explain(build_model(config, Path()), config, *point, device)
    if explanation is None:
        return {"error": outcome.error}
    parts = ("parameters", "buffers", "gradients", "optimizer_state", "input", "activations")
    return {
        "error": outcome.error,
        "analytic": {part: getattr(breakdown, part + "_bytes") for part in parts},
        "emulated": {part: explanation.highest_parts[part] for part in parts},
        "unknown": explanation.highest_parts["unknown"],
    }

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
LORA = {"lora": {"r": 4, "target_modules": ["q_proj", "v_proj"]}}
CASES: Mapping[str, Mapping[str, Any]] = {
    "as built": {},
    "frozen convolutions": {"freeze": ["conv*"]},
    "only the head": {"freeze": ["*", "!fc2.*"]},
    "frozen, with a fused optimizer": {
        "freeze": ["conv*"],
        "optimizers": [{"name": "adamw", "kwargs": {"fused": True}}],
    },
}
HUB_CASES: Mapping[str, Mapping[str, Any]] = {
    "lora": {"hub": True, "adapter": LORA},
    "lora in bf16": {"hub": True, "adapter": LORA, "precision": "bf16"},
    "lora with checkpointing": {"hub": True, "adapter": LORA, "precision": "bf16", "gradient_checkpointing": True},
    "ia3": {"hub": True, "adapter": "ia3", "precision": "amp-bf16"},
    "checkpointing": {"hub": True, "gradient_checkpointing": True},
}


def missing(*packages: str) -> list[str]:
    return [package for package in packages if find_spec(package) is None]


def hub_case(name: str, *packages: str) -> Any:
    without = missing(*packages)
    reason = f"not installed: {', '.join(without)}; pip install -e '.[hub]'"
    return pytest.param(name, marks=pytest.mark.skipif(bool(without), reason=reason))


@pytest.fixture(scope="module")
def found(run_on_phantom: Callable[..., Any]) -> Mapping[str, Any]:
    cases = {**CASES, **({} if missing("transformers", "peft") else HUB_CASES)}
    done = run_on_phantom(RUNS.replace("sys.stdin.read()", repr(json.dumps(cases))))
    assert done.returncode == 0, done.stderr
    results: Mapping[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return results


@pytest.mark.parametrize("name", [*CASES, *(hub_case(name, "transformers", "peft") for name in HUB_CASES)])
def test_finetuning_estimate_equals_bytes_on_device(found: Mapping[str, Any], name: str) -> None:
    case = found[name]
    assert case["error"] is None
    assert case["unknown"] == 0
    exact = ("parameters", "buffers", "gradients", "optimizer_state", "input")
    expected = {part: case["analytic"][part] for part in exact}
    if name == "lora with checkpointing":  # transformers makes the embedding's output a leaf, which has a gradient
        expected["gradients"] += 2 * 64 * 256 * 2
    assert expected == {part: case["emulated"][part] for part in exact}


@pytest.mark.parametrize("name", [hub_case("lora", "transformers", "peft"), "only the head"])
def test_frozen_parameters_have_no_gradients_and_no_state(found: Mapping[str, Any], name: str) -> None:
    emulated = found[name]["emulated"]
    assert 0 < emulated["gradients"] < emulated["parameters"] / 10
    assert emulated["optimizer_state"] == 2 * emulated["gradients"]


def test_frozen_layers_before_the_head_keep_no_activations(found: Mapping[str, Any]) -> None:
    whole, head = (found[name]["emulated"]["activations"] for name in ("as built", "only the head"))
    assert 0 < head < whole / 4
    assert found["only the head"]["analytic"]["activations"] < whole / 4
