"""What a CUDA context takes on the GPU of this process, step by step: run as a module, it prints JSON.

Its argument is torch's index of the device. Each process measures once: a library's kernels are loaded only once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional

from memprof.gpus.nvml import NvmlGpu, open_nvml, used_by_uuid
from memprof.gpus.probe_device import read_gpu


def measure_context(index: int) -> dict[str, Any]:
    """Return what a context takes, what the first kernels of PyTorch, cuBLAS and cuDNN add, and the GPU's own figures.

    Each figure is NVML's minus what PyTorch's allocator has reserved, so that workspaces from it do not count. NVML's
    figure is that of this process; if the driver does not report it, what is new on the whole GPU since the start.

    Raises:
        RuntimeError: NVML does not report the memory in use, or it fell while kernels were loaded.
    """
    before = used_by_uuid()  # before torch touches CUDA
    device = torch.device("cuda", index)
    kept = torch.empty(1, device=device)  # makes the context, and launches nothing
    nvml = open_nvml(torch.cuda.get_device_properties(device))
    context_bytes = taken = _context_bytes(nvml, device, before)
    figures = {}
    for name, load in (("kernels_bytes", _kernels), ("cublas_bytes", _cublas), ("cudnn_bytes", _cudnn)):
        load(device)
        now = _context_bytes(nvml, device, before)
        if now < taken:
            raise RuntimeError("the memory in use fell while kernels were loaded: something else uses the GPU")
        figures[name], taken = now - taken, now
    del kept
    read = read_gpu(index)
    return {
        "figures": {**read, "context_bytes": context_bytes, **figures},
        "of_process": nvml is not None and nvml.own_bytes() is not None,
        "driver_version": nvml.driver_version() if nvml else None,
        "torch_version": torch.__version__,
    }


def _kernels(device: torch.device) -> None:
    """Launch PyTorch's own kernels: fills, sums, elementwise products, and their gradients."""
    weight = torch.zeros(8, device=device, requires_grad=True)
    (weight * 2.0 + 1.0).sum().backward()  # type: ignore[no-untyped-call]


def _cublas(device: torch.device) -> None:
    functional.linear(torch.zeros(8, 8, device=device), torch.zeros(8, 8, device=device))


def _cudnn(device: torch.device) -> None:
    images = torch.zeros(1, 3, 8, 8, device=device, requires_grad=True)
    weights = torch.zeros(4, 3, 3, 3, device=device, requires_grad=True)
    seen = functional.conv2d(images, weights)
    torch.autograd.grad(seen, (images, weights), torch.zeros_like(seen))


def _context_bytes(nvml: NvmlGpu | None, device: torch.device, before: Mapping[str, int]) -> int:
    """Return what NVML counts for this process, without the memory of PyTorch's allocator."""
    torch.cuda.synchronize(device)
    own, used = (nvml.own_bytes(), nvml.used_bytes()) if nvml else (None, None)
    reserved = torch.cuda.memory_reserved(device)
    if own is not None:
        return own - reserved
    uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    if used is None or uuid not in before:
        raise RuntimeError("NVML does not report the memory in use, so the size of a CUDA context is unknown")
    return used - before[uuid] - reserved


if __name__ == "__main__":
    print(json.dumps(measure_context(int(sys.argv[1]))))  # noqa: T201  the answer to the parent
