"""Every GPU of the catalog as the CUDA runtime and NVML show it, each in a child forked before CUDA is used."""

from __future__ import annotations

import ctypes
import json
import os
from ctypes import byref, c_int, c_size_t
from typing import Any

import pynvml

from memprof.gpus.catalog import load_catalog
from memprof.gpus.phantom.environment import describe_gpu
from memprof.gpus.spec import GpuSpec

# Numbers of `enum cudaDeviceAttr`, from the CUDA Runtime API reference.
ATTRIBUTES = {
    "shared_memory_per_block_bytes": 8,
    "registers_per_block": 12,
    "clock_khz": 13,
    "multiprocessors": 16,
    "memory_clock_khz": 36,
    "memory_bus_bits": 37,
    "l2_cache_bytes": 38,
    "max_threads_per_multiprocessor": 39,
    "shared_memory_per_multiprocessor_bytes": 81,
    "registers_per_multiprocessor": 82,
    "shared_memory_per_block_optin_bytes": 97,
    "max_blocks_per_multiprocessor": 106,
    "reserved_shared_memory_per_block_bytes": 111,
}


def look(spec: GpuSpec) -> dict[str, Any]:
    os.environ["MEMPROF_PHANTOM"] = describe_gpu(spec)
    cuda = ctypes.CDLL(None)
    found: dict[str, Any] = {}
    for name, number in ATTRIBUTES.items():
        value = c_int()
        cuda.cudaDeviceGetAttribute(byref(value), number, 0)
        found[name] = value.value
    free, total = c_size_t(), c_size_t()
    cuda.cudaMemGetInfo(byref(free), byref(total))
    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    return {
        **found,
        "total_bytes": total.value,
        "context_bytes": total.value - free.value,
        "name": pynvml.nvmlDeviceGetName(handle),
        "compute_capability": f"{major}.{minor}",
    }


def in_a_child(spec: GpuSpec) -> dict[str, Any]:
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.write(writing, json.dumps(look(spec)).encode())
        os._exit(0)
    os.close(writing)
    os.wait()
    with open(reading) as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return found


print(json.dumps({key: in_a_child(spec) for key, spec in load_catalog().items()}))
