"""A depthwise convolution in channels_last, and one convolution in cuDNN's benchmark mode."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import nn

from memprof.gpus.phantom.runtime import unknown_workspaces


def depthwise() -> dict[str, Any]:
    convolution = nn.Conv2d(16, 16, 3, padding=1, groups=16).cuda().to(memory_format=torch.channels_last)
    y = convolution(torch.randn(2, 16, 16, 16, device="cuda").to(memory_format=torch.channels_last))
    y.sum().backward()
    gradient = convolution.weight.grad
    assert gradient is not None
    return {
        "gradient": list(gradient.shape),
        "channels_last": y.is_contiguous(memory_format=torch.channels_last),
        "unknown": unknown_workspaces(),
    }


def benchmarked() -> dict[str, Any]:
    torch.backends.cudnn.benchmark = True
    x, weight = torch.randn(2, 64, 32, 32, device="cuda"), torch.randn(64, 64, 3, 3, device="cuda")
    y = nn.functional.conv2d(x, weight)
    return {"output": list(y.shape), "unknown": unknown_workspaces()}


print(json.dumps({**depthwise(), "benchmarked": benchmarked()}))
