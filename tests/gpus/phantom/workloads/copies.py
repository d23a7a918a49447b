"""What is read back from the device: values that the host wrote, and zeros for what a kernel should have written."""

from __future__ import annotations

import json
from typing import Any

import torch

SMALL, LARGE = 64 << 10, (64 << 10) + 1


def survivors() -> dict[str, Any]:
    labels = torch.tensor([3, 1, 4], device="cuda")
    return {
        "scalar": torch.tensor(2.5, device="cuda").item(),
        "labels": labels.tolist(),
        "clone": labels.clone().tolist(),
        "back": labels.cpu().tolist(),
        "non_blocking": torch.tensor([7], dtype=torch.uint8).pin_memory().to("cuda", non_blocking=True).item(),
        "bool": bool(torch.tensor(True, device="cuda")),
        "first": labels[0].item(),
        "last": labels[-1].item(),
        "elements": [int(label) for label in labels],
        "slice": labels[1:].tolist(),
        "rewritten": rewritten(),
        "parts": parts(),
    }


def rewritten() -> list[float]:
    x = torch.zeros(2, device="cuda")
    x.copy_(torch.tensor([1.0, 2.0]))
    x.copy_(torch.tensor([5.0, 6.0]))
    return x.tolist()


def parts() -> list[int]:
    """Written in three parts, of which one overlaps the others; the last element never."""
    x = torch.empty(6, dtype=torch.int32, device="cuda")
    for place, values in ((0, [1, 2]), (3, [4, 5]), (1, [7, 8, 9])):
        x[place : place + len(values)].copy_(torch.tensor(values, dtype=torch.int32))
    return x.tolist()


def reused() -> dict[str, Any]:
    """New tensors at addresses that had values of the host before."""
    addresses = set()
    for _ in range(8):
        passing = [torch.tensor(3.0, device="cuda") for _ in range(8)]
        addresses |= {x.data_ptr() for x in passing}
        del passing
    fresh = [torch.zeros((), device="cuda") for _ in range(8)]
    return {
        "same_addresses": sorted(x.data_ptr() in addresses for x in fresh)[0],
        "values": [x.item() for x in fresh],
        "nonzero": list(torch.nonzero(torch.randn(100, device="cuda")).shape),
    }


def profiled() -> int:
    """PyTorch's profiler still gets the reports of memory."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        torch.empty(1000, device="cuda")
    return sum(event.self_device_memory_usage for event in profiler.key_averages() if event.key == "aten::empty")


def sizes() -> dict[str, int]:
    return {
        name: int(torch.full((size,), 9, dtype=torch.uint8).cuda().cpu().sum())
        for name, size in {"small": SMALL, "large": LARGE}.items()
    }


def results_of_kernels() -> dict[str, Any]:
    torch.cuda.empty_cache()
    x = torch.randn(100, 100, device="cuda")
    return {
        "sum": x.sum().item(),
        "product": (x @ x)[0, :3].tolist(),
        "nonzero": list(torch.nonzero(x).shape),
        "sorted": torch.sort(x.flatten()).values[:3].tolist(),
    }


def pinned() -> dict[str, Any]:
    x = torch.arange(10).pin_memory()
    return {"pinned": x.is_pinned(), "plain": torch.arange(10).is_pinned(), "values": x.tolist()}


found = {
    "survivors": survivors(),
    "sizes": sizes(),
    "kernels": results_of_kernels(),
    "reused": reused(),
    "pinned": pinned(),
    "profiled": profiled(),
}
print(json.dumps(found))
