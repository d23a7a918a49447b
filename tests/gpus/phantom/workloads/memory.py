"""An RTX 4060's memory: allocated, cached, freed, refused; and the value of each counter at each moment."""

from __future__ import annotations

import json
from typing import Any

import pynvml
import torch

GIB = 1 << 30


def take(gibibytes: float) -> torch.Tensor:
    return torch.empty(int(gibibytes * GIB), dtype=torch.uint8, device="cuda")


def moment() -> dict[str, int]:
    free, total = torch.cuda.mem_get_info()
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    nvml = pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    first = pynvml.nvmlDeviceGetMemoryInfo(handle)
    processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    return {
        "free": free,
        "total": total,
        "reserved": torch.cuda.memory_reserved(),
        "nvml_total": nvml.total,
        "nvml_free": nvml.free,
        "nvml_used": nvml.used,
        "nvml_v1_used": first.used,
        "torch_used": torch.cuda.device_memory_used(),
        "process": sum(process.usedGpuMemory for process in processes),
    }


def refuse(gibibytes: float) -> str:
    try:
        take(gibibytes)
    except torch.OutOfMemoryError as error:
        return str(error)
    return "granted"


def retry() -> dict[str, Any]:
    """Cached blocks that leave no room for a larger one are freed, and the allocation succeeds."""
    cached = take(4)
    del cached
    before = torch.cuda.memory_stats()
    held = take(5)
    after = torch.cuda.memory_stats()
    return {
        "reserved": [stats["reserved_bytes.all.current"] for stats in (before, after)],
        "retries": after["num_alloc_retries"] - before["num_alloc_retries"],
        "ooms": after["num_ooms"] - before["num_ooms"],
        "bytes": held.nbytes,
    }


def fraction() -> str:
    torch.cuda.set_per_process_memory_fraction(0.25)
    message = refuse(3)
    torch.cuda.set_per_process_memory_fraction(1.0)
    return message


def run() -> dict[str, Any]:
    pynvml.nvmlInit()
    torch.cuda.init()
    found: dict[str, Any] = {"moments": {"empty": moment()}, "properties": properties()}
    held = take(1)
    found["moments"]["taken"] = moment()
    found["refused"] = refuse(200)
    found["nearly"] = refuse(7)
    found["moments"]["refused"] = moment()
    found["next"] = take(2).nbytes
    found["moments"]["cached"] = moment()
    del held
    torch.cuda.empty_cache()
    found["moments"]["emptied"] = moment()
    found["retry"] = retry()
    torch.cuda.empty_cache()
    found["fraction"] = fraction()
    found["after_fraction"] = refuse(3)
    return found


def properties() -> dict[str, Any]:
    seen = torch.cuda.get_device_properties(0)
    return {
        "name": seen.name,
        "capability": [seen.major, seen.minor],
        "total": seen.total_memory,
        "multiprocessors": seen.multi_processor_count,
        "l2": seen.L2_cache_size,
        "threads": seen.max_threads_per_multi_processor,
        "uuid": str(seen.uuid),
        "nvml_uuid": pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(0)),
    }


print(json.dumps(run()))
