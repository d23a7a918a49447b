"""What NVML counts without PyTorch's memory: with only a context, then after the first kernels of each library."""

from __future__ import annotations

import json

import pynvml
import torch
from torch.nn import functional

pynvml.nvmlInit()
gpu = pynvml.nvmlDeviceGetHandleByIndex(0)
seen: list[int] = []


def look() -> None:
    torch.cuda.synchronize()
    used = pynvml.nvmlDeviceGetMemoryInfo(gpu, version=pynvml.nvmlMemory_v2).used
    seen.append(used - torch.cuda.memory_reserved())


kept = torch.empty(1, device="cuda")  # makes the context, and launches nothing
look()
images = torch.zeros(1, 3, 8, 8, device="cuda")
look()
functional.linear(images, torch.zeros(8, 8, device="cuda"))
look()
functional.conv2d(images, torch.zeros(4, 3, 3, 3, device="cuda"))
look()
functional.conv2d(images + functional.linear(images, images[0, 0]), torch.zeros(4, 3, 3, 3, device="cuda"))
look()
print(json.dumps({"seen": seen}))
