"""The estimated peak against the one that the allocator reports when the same step runs on a phantom."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping

import pytest

from memprof.gpus.select import Device

# Layers whose kernels need no buffers of their own: then the estimate is exact.
RUNS = """
import json, os
from pathlib import Path
import torch
from torch import nn
from memprof.config.schema import OptimizerConfig, SweepConfig
from memprof.gpus.traits import default_traits
from memprof.measure.estimate import estimate
from memprof.measure.run import measure

class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.one, self.two = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x):
        return self.two(self.one(x).relu()) + x  # the gradient of x is a sum

class Branches(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(width, width) for _ in range(3))

    def forward(self, x):
        a, b, c = (part(x) for part in self.parts)
        return a * b * c  # three gradients of x, of which only autograd has references

def build():
    return nn.Sequential(nn.Linear(32, 48), *(Block(48) for _ in range(4)), Branches(48), nn.Linear(48, 10))

CASES = json.loads(os.environ["CASES"])

def run(case, how):
    optimizer = OptimizerConfig.model_validate(case.pop("optimizer", {"name": "adam"}))
    label = dict(shape=[], dtype="int64", range=[0, 10])
    base = dict(name="x", model="mnist_mlp", input=dict(shape=[32]), target=label)
    config = SweepConfig.model_validate({**base, **case})
    model = build()
    if config.activation_checkpointing:
        from memprof.workload.checkpointing import checkpoint_blocks
        checkpoint_blocks(model, config.activation_checkpointing, "own")
    model.to(dict(bf16=torch.bfloat16, fp64=torch.float64).get(config.precision.value, torch.float32))
    spec = None if config.mode == "inference" else optimizer
    if how == "estimate":
        points = [(spec, size) for size in (8, 24, 40)]
        return [row.peak_bytes for row in estimate(model, config, points, default_traits())]
    outcome = measure(model, config, spec, 24, torch.device("cuda", 0))
    return outcome.error or outcome.reading.peak_allocated_bytes

torch.set_num_threads(1)
torch.optim.Adam([nn.Parameter(torch.zeros(1))])
for name, case in CASES.items():
    for how in ("estimate", "measure"):
        if os.fork() == 0:
            os.write(1, (json.dumps([name, how, run(dict(case), how)]) + "\\n").encode())
            os._exit(0)
        os.wait()
"""
CASES = {
    "plain": {},
    "resident batch": {"batch": "resident"},
    "replaced batch": {"batch": "replaced"},
    "sgd": {"optimizer": {"name": "sgd", "kwargs": {"momentum": 0.9}}},
    "fused": {"optimizer": {"name": "adamw", "kwargs": {"fused": True}}},
    "for loop": {"optimizer": {"name": "adam", "kwargs": {"foreach": False}}},
    "nadam": {"optimizer": {"name": "nadam"}},
    "accumulation": {"gradient_accumulation": 3},
    "kept gradients": {"set_to_none": False},
    "in backward": {"optimizer_in_backward": True},
    "bf16": {"precision": "bf16"},
    "fp64": {"precision": "fp64"},
    "amp-bf16": {"precision": "amp-bf16"},
    "amp-fp16": {"precision": "amp-fp16"},
    "checkpointing": {"activation_checkpointing": 2},
    "evaluation": {"evaluation": {"batch_size": 2000}},
    "inference": {"mode": "inference"},
}


@pytest.fixture(scope="module")
def peaks(phantom_device_h100: Device) -> Mapping[tuple[str, str], object]:
    """What was found for each case, and how."""
    environment = {**os.environ, **phantom_device_h100.environment, "CASES": json.dumps(CASES)}
    done = subprocess.run(
        [sys.executable, "-c", RUNS], env=environment, capture_output=True, check=True, timeout=600, text=True
    )
    return {(name, how): found for name, how, found in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", CASES)
def test_estimated_peak_equals_the_emulated_one(peaks: Mapping[tuple[str, str], object], name: str) -> None:
    found = peaks[name, "estimate"]
    assert isinstance(found, list)
    assert found[1] == peaks[name, "measure"]  # between two sizes that ran: on the lines through them
    assert found[0] < found[1] < found[2]
