"""The workspaces of convolutions: of the output and of both gradients. Argument: the cases as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import torch
from torch import Tensor

from memprof.gpus.phantom.runtime import unknown_workspaces


def workspace_bytes(operation: Callable[[], Tensor]) -> int:
    """What the operation requests in addition to its result; both exist at the same time."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_stats()["requested_bytes.all.current"]
    result = operation()
    peak = torch.cuda.memory_stats()["requested_bytes.all.peak"]
    return int(peak - before - result.nbytes)


def workspaces(batch: int, channels: int, outputs: int, side: int, kernel: int, stride: int) -> list[int]:
    """The three workspaces, in bytes."""
    x = torch.zeros(batch, channels, side, side, device="cuda")
    weight = torch.zeros(outputs, channels, kernel, kernel, device="cuda")
    y = torch.zeros(batch, outputs, side // stride, side // stride, device="cuda")
    padding = (kernel - 1) // 2
    settings = ([stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1)

    def gradient(number: int) -> Callable[[], Tensor]:
        wanted = [number == 0, number == 1, False]
        return lambda: torch.ops.aten.convolution_backward(y, x, weight, None, *settings, wanted)[number]

    forward = workspace_bytes(lambda: torch.convolution(x, weight, None, *settings))
    return [forward, workspace_bytes(gradient(0)), workspace_bytes(gradient(1))]


found = [workspaces(*case) for case in json.loads(sys.argv[1])]
print(json.dumps({"workspaces": found, "unknown": unknown_workspaces(), "cudnn": torch.backends.cudnn.version()}))
