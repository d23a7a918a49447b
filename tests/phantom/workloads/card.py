"""The card of this process, real or phantom, as an entry of the catalog would have it."""

from __future__ import annotations

import ctypes
import json
from ctypes import byref, c_int
from typing import Any

import pynvml
import torch

# Numbers of `enum cudaDeviceAttr`, from the CUDA Runtime API reference.
ATTRIBUTES = {
    "shared_memory_per_block_bytes": 8,
    "registers_per_block": 12,
    "clock_khz": 13,
    "memory_clock_khz": 36,
    "memory_bus_bits": 37,
    "max_threads_per_multiprocessor": 39,
    "shared_memory_per_multiprocessor_bytes": 81,
    "registers_per_multiprocessor": 82,
    "shared_memory_per_block_optin_bytes": 97,
    "max_blocks_per_multiprocessor": 106,
    "reserved_shared_memory_per_block_bytes": 111,
}


def nvml_used_bytes(uuid: str) -> int:
    handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
    return int(pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2).used)


def attribute(number: int) -> int:
    value = c_int()
    assert ctypes.CDLL(None).cudaDeviceGetAttribute(byref(value), number, 0) == 0
    return value.value


def read() -> dict[str, Any]:
    pynvml.nvmlInit()
    seen = torch.cuda.get_device_properties(0)
    uuid = f"GPU-{seen.uuid}"
    before = nvml_used_bytes(uuid)
    torch.empty(1, device="cuda")
    context = nvml_used_bytes(uuid) - before - torch.cuda.memory_reserved()
    return {
        "name": seen.name,
        "compute_capability": f"{seen.major}.{seen.minor}",
        "multiprocessors": seen.multi_processor_count,
        "total_bytes": seen.total_memory,
        "l2_cache_bytes": seen.L2_cache_size,
        "context_bytes": context,
        **{name: attribute(number) for name, number in ATTRIBUTES.items()},
    }


print(json.dumps(read()))
