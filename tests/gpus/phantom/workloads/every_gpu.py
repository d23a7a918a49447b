"""A training step of a small CNN on every GPU that PyTorch runs on, each in a child forked before CUDA is used."""

from __future__ import annotations

import json
import os
from typing import Any

import torch
from torch import nn

from memprof.gpus.catalog import find_gpu
from memprof.gpus.phantom.environment import describe_gpu
from memprof.gpus.phantom.runtime import unknown_workspaces
from memprof.gpus.select import runnable_gpus
from memprof.gpus.spec import GpuSpec


def small_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


def step() -> dict[str, Any]:
    model = small_cnn().cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    images = torch.randn(16, 3, 64, 64, device="cuda")
    model(images).sum().backward()
    optimizer.step()
    seen = torch.cuda.get_device_properties(0)
    return {
        "name": seen.name,
        "capability": f"{seen.major}.{seen.minor}",
        "total": seen.total_memory,
        "multiprocessors": seen.multi_processor_count,
        "allocated": torch.cuda.max_memory_allocated(),
        "unknown": unknown_workspaces(),
        "cudnn": torch.backends.cudnn.version(),
    }


def in_a_child(spec: GpuSpec) -> dict[str, Any]:
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.environ["MEMPROF_PHANTOM"] = describe_gpu(spec)
        os.write(writing, json.dumps(step()).encode())
        os._exit(0)
    os.close(writing)
    os.wait()
    with open(reading) as answer:
        found: dict[str, Any] = json.loads(answer.read() or '{"crashed": true}')
    return found


torch.set_num_threads(1)  # threads do not survive a fork
torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)  # imports for seconds, once instead of in each child
print(json.dumps({key: in_a_child(find_gpu(key)) for key in runnable_gpus()}))
