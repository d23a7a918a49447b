"""The workspace of channels_last batch normalization in both passes. Argument: shapes as JSON."""

from __future__ import annotations

import json
import sys

import torch
from torch import nn


def history() -> list[int]:
    [events] = torch.cuda.memory._snapshot()["device_traces"]
    return [event["size"] for event in events if event["action"] == "alloc"]


def scratch(shape: list[int]) -> list[int]:
    """The last allocation of each pass: what comes before are its results."""
    x = torch.zeros(shape, device="cuda").to(memory_format=torch.channels_last).requires_grad_()
    norm, gradient = nn.BatchNorm2d(shape[1]).cuda(), torch.zeros_like(x)
    y = norm(x)
    forward = history()[-1]
    y.backward(gradient)
    return [forward, history()[-1]]


torch.cuda.memory._record_memory_history(context=None)
print(json.dumps({"scratch": [scratch(shape) for shape in json.loads(sys.argv[1])]}))
