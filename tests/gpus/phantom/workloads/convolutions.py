"""What single convolutions allocate in addition to their output. Argument: the cases as JSON."""

from __future__ import annotations

import json
import sys

import torch

from memprof.gpus.phantom.runtime import unknown_workspaces


def workspace_bytes(dtype: str, input_shape: list[int], weight_shape: list[int]) -> int:
    """The workspace's block, read from the allocator's peak: the output and the workspace exist at the same time."""
    kind = getattr(torch, dtype)
    x = torch.empty(input_shape, dtype=kind, device="cuda")
    weight = torch.empty(weight_shape, dtype=kind, device="cuda")
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    y = torch.nn.functional.conv2d(x, weight, padding=1)
    return torch.cuda.max_memory_allocated() - before - y.nbytes


found = [workspace_bytes(*case) for case in json.loads(sys.argv[1])]
print(json.dumps({"workspaces": found, "unknown": unknown_workspaces(), "cudnn": torch.backends.cudnn.version()}))
