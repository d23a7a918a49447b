"""Run each convolution of some torchvision models on CUDA once, and print its plan and its workspace.

The parent is in record_cudnn.py; cuDNN writes its log into the file that is the first argument.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

from benchmarks.campaign_child import SIDES, is_workspace
from benchmarks.on_gpu.cudnn_log import read_plans

BATCH, BATCHES = 16, {"vgg11": 8}  # as in `memprof verify`
DTYPES = (torch.float32, torch.bfloat16)


@dataclass(frozen=True)
class Problem:
    """A convolution by its shapes and settings."""

    input_shape: tuple[int, ...]
    weight_shape: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


def problems(name: str) -> list[Problem]:
    """Return the convolutions of a model, each once, from a run without values."""
    found: list[Problem] = []
    with torch.device("meta"):
        model = models.get_model(name, weights=None)
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_pre_hook(lambda conv, inputs: found.append(_problem(conv, inputs[0])))
        side = SIDES.get(name, 224)
        model(torch.empty(BATCHES.get(name, BATCH), 3, side, side))
    return list(dict.fromkeys(found))


def _problem(conv: nn.Conv2d, x: Tensor) -> Problem:
    padding = conv.padding if isinstance(conv.padding, tuple) else (0, 0)
    shapes = tuple(x.shape), tuple(conv.weight.shape)
    return Problem(*shapes, tuple(conv.stride), tuple(padding), tuple(conv.dilation), conv.groups)


def operations(problem: Problem, dtype: torch.dtype) -> Iterator[Any]:
    """Yield functions that run forward, and the gradients of input and weight, one operation each."""
    x = torch.zeros(problem.input_shape, dtype=dtype, device="cuda")
    weight = torch.zeros(problem.weight_shape, dtype=dtype, device="cuda")
    settings = (problem.stride, problem.padding, problem.dilation)
    # PyTorch keeps the plan of a shape that has run, so the shape of the output comes from a run without values.
    on_meta = (x.to("meta"), weight.to("meta"), None, *settings, False, (0, 0), problem.groups)
    output = torch.zeros(torch.convolution(*on_meta).shape, dtype=dtype, device="cuda")
    yield lambda: torch.convolution(x, weight, None, *settings, False, (0, 0), problem.groups)
    for mask in ((True, False, False), (False, True, False)):
        yield lambda mask=mask: torch.ops.aten.convolution_backward(
            output, x, weight, None, *settings, False, (0, 0), problem.groups, mask
        )


def workspace_of(operation: Any) -> int:
    """Run an operation; return the bytes of the largest workspace that a plan of cuDNN asked the allocator for."""
    torch.cuda.memory._record_memory_history(context="alloc", stacks="all")
    operation()
    torch.cuda.synchronize()
    [history] = torch.cuda.memory._snapshot()["device_traces"]
    torch.cuda.memory._record_memory_history(enabled=None)
    return max((event["size"] for event in history if event["action"] == "alloc" and is_workspace(event)), default=0)


def main() -> None:
    """Print a line for each operation of each problem, once for all models."""
    log, seen = Path(sys.argv[1]), set()
    versions = {"gpu": torch.cuda.get_device_name(), "cudnn": torch.backends.cudnn.version()}
    for model in sys.argv[2:]:
        for problem in problems(model):
            if problem in seen:
                continue
            seen.add(problem)
            for dtype in DTYPES:
                for operation in operations(problem, dtype):
                    before = log.stat().st_size if log.exists() else 0
                    workspace = workspace_of(operation)
                    with log.open(encoding="utf-8", errors="replace") as lines:
                        lines.seek(before)
                        plans = list(read_plans(lines.read()))
                    plan = asdict(plans[-1]) if plans else None  # None: PyTorch did not take cuDNN
                    line = {"model": model, **versions, "dtype": str(dtype), **asdict(problem), "plan": plan}
                    print(json.dumps({**line, "workspace_bytes": workspace}), flush=True)


if __name__ == "__main__":
    main()
