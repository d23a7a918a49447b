"""The figures of this process's GPU, real or phantom, as in the catalog: run as a module, it prints JSON.

Its argument is torch's index of the device.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch

from memprof.gpus.nvml import open_nvml

# Numbers of `enum cudaDeviceAttr`, from the CUDA Runtime API reference.
_ATTRIBUTES: Mapping[str, int] = MappingProxyType(
    {
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
)


def read_gpu(index: int) -> dict[str, Any]:
    """Return the figures of `memprof.gpus.catalog.GpuSpec` that CUDA and NVML report; this makes a CUDA context.

    Raises:
        RuntimeError: CUDA or NVML does not report one of them.
    """
    device = torch.device("cuda", index)
    seen = torch.cuda.get_device_properties(device)
    return {
        "name": seen.name,
        "compute_capability": f"{seen.major}.{seen.minor}",
        "multiprocessors": seen.multi_processor_count,
        "total_bytes": seen.total_memory,
        "l2_cache_bytes": seen.L2_cache_size,
        "context_bytes": _context_bytes(device),
        **{name: _attribute(number, index) for name, number in _ATTRIBUTES.items()},
    }


def _context_bytes(device: torch.device) -> int:
    """Return what NVML counts for this process, without PyTorch's memory; if it lists no processes, what is new."""
    nvml = open_nvml(torch.cuda.get_device_properties(device))
    before = nvml.used_bytes() if nvml else None
    kept = torch.empty(1, device=device)
    own, after = (nvml.own_bytes(), nvml.used_bytes()) if nvml else (None, None)
    reserved = torch.cuda.memory_reserved(device)
    del kept
    if own is not None:
        return own - reserved
    if before is None or after is None:
        raise RuntimeError("NVML does not report the memory in use, so the size of a CUDA context is unknown")
    return after - before - reserved


def _attribute(number: int, index: int) -> int:
    value = ctypes.c_int()
    status = _runtime().cudaDeviceGetAttribute(ctypes.byref(value), number, index)
    if status != 0:
        raise RuntimeError(f"cudaDeviceGetAttribute({number}) failed with status {status}")
    return value.value


def _runtime() -> ctypes.CDLL:
    """The CUDA runtime that torch has loaded, or the phantom's, which is preloaded."""
    return ctypes.CDLL(None) if hasattr(ctypes.CDLL(None), "cudaDeviceGetAttribute") else ctypes.CDLL(_loaded())


def _loaded() -> str:
    with open("/proc/self/maps", encoding="utf-8") as maps:
        found = {line.split()[-1] for line in maps if "libcudart.so" in line}
    return min(found, default="libcudart.so")


if __name__ == "__main__":
    print(json.dumps(read_gpu(int(sys.argv[1]))))  # noqa: T201  the answer to the parent
