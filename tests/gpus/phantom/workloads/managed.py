"""Managed memory of the CUDA runtime, called without torch: values, pages that move, and a GPU that is full."""

from __future__ import annotations

import ctypes
import json
from ctypes import byref, c_int, c_size_t, c_uint, c_void_p
from typing import Any

cuda = ctypes.CDLL(None)  # the preloaded phantom's names come first
MIB = 1 << 20


class Location(ctypes.Structure):
    _fields_ = (("type", c_int), ("id", c_int))


class Attributes(ctypes.Structure):
    _fields_ = (("type", c_int), ("device", c_int), ("device_pointer", c_void_p), ("host_pointer", c_void_p))


def free_bytes() -> int:
    free, total = c_size_t(), c_size_t()
    cuda.cudaMemGetInfo(byref(free), byref(total))
    return free.value


def managed(size: int, flags: int = 1) -> tuple[int, int]:
    address = c_void_p()
    return cuda.cudaMallocManaged(byref(address), c_size_t(size), c_uint(flags)), address.value or 0


def prefetch(address: int, size: int, device: int) -> int:
    version = c_int()
    cuda.cudaRuntimeGetVersion(byref(version))
    if version.value < 13000:
        return int(cuda.cudaMemPrefetchAsync(c_void_p(address), c_size_t(size), c_int(device), None))
    location = Location(1, device) if device >= 0 else Location(2, 0)
    return int(cuda.cudaMemPrefetchAsync(c_void_p(address), c_size_t(size), location, c_uint(0), None))


def pages() -> dict[str, Any]:
    """How many bytes of the GPU are taken after each step."""
    start = free_bytes()
    _, address = managed(5 * MIB)
    taken = [start - free_bytes()]
    for size, device in ((5 * MIB, 0), (5 * MIB, 0), (2 * MIB, -1), (1, 0)):
        prefetch(address, size, device)
        taken.append(start - free_bytes())
    return {"taken": [*taken, cuda.cudaFree(c_void_p(address)), start - free_bytes()]}


def values() -> dict[str, Any]:
    _, address = managed(MIB)
    numbers = (c_int * 4).from_address(address)
    numbers[1], back = 7, (c_int * 4)()
    on_device = c_void_p()
    cuda.cudaMalloc(byref(on_device), c_size_t(16))
    cuda.cudaMemcpy(on_device, c_void_p(address), c_size_t(16), 4)
    cuda.cudaMemset(c_void_p(address), 1, c_size_t(4))
    cuda.cudaMemcpy(byref(back), on_device, c_size_t(16), 4)
    attributes = Attributes()
    cuda.cudaPointerGetAttributes(byref(attributes), c_void_p(address))
    return {
        "host": list(numbers),
        "device": list(back),
        "type": attributes.type,
        "one_address": attributes.device_pointer == attributes.host_pointer == address,
    }


def full() -> dict[str, Any]:
    """More managed memory than the GPU has; device memory then takes the room of its pages."""
    start = free_bytes()
    _, address = managed(2 * start)
    prefetch(address, 2 * start, 0)
    after_prefetch = free_bytes()
    refused = cuda.cudaMalloc(byref(c_void_p()), c_size_t(start // (2 * MIB) * 2 * MIB))
    return {"after_prefetch": after_prefetch < 2 * MIB, "error": refused, "free": free_bytes() < 2 * MIB}


def wrong() -> dict[str, int]:
    return {"no bytes": managed(0)[0], "flags": managed(1, 9)[0], "unknown": prefetch(4096, 1, 0)}


print(json.dumps({part.__name__: part() for part in (pages, values, wrong, full)}))
