"""What CUDA shows under each value of CUDA_VISIBLE_DEVICES, each in a child that is forked before CUDA is used.

Its argument is the JSON list of the values; null removes the variable. NVML is in use already when a child sets the
variable, as in a program that sets it before its first CUDA call.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from ctypes import byref, c_int, c_size_t, c_ubyte, c_void_p, create_string_buffer
from typing import Any

import pynvml
import torch

TAKEN_BYTES = 64 << 20
CUDA, DRIVER = ctypes.CDLL(None), ctypes.CDLL("libcuda.so.1")


def look(value: str | None) -> dict[str, Any]:
    pynvml.nvmlInit()
    before = len(nvml_uuids())
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    if value is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = value
    status, count = number(CUDA.cudaGetDeviceCount)
    return {
        "nvml": [before, len(nvml_uuids())],
        "uuids": [uuid_of(device) for device in range(count)],
        "buses": [bus_of(device) for device in range(count)],
        "counts": [count, number(DRIVER.cuDeviceGetCount)[1], torch.cuda.device_count()],
        "status": status,
        "after_the_last": [CUDA.cudaSetDevice(count), DRIVER.cuDevicePrimaryCtxRetain(byref(c_void_p()), count)],
        "default_device": [*number(CUDA.cudaGetDevice), malloc(), used_by_cuda()[0]],
        "used": [use(device) for device in range(count)],
        "nvml_used": nvml_used(),
        "torch_uuids": [f"GPU-{torch.cuda.get_device_properties(device).uuid}" for device in range(count)],
    }


def number(call: Any) -> tuple[int, int]:
    """The status of a call that writes one number, and the number."""
    value = c_int(-1)
    return call(byref(value)), value.value


def uuid_of(device: int) -> str:
    uuid = (c_ubyte * 16)()
    assert DRIVER.cuDeviceGetUuid_v2(byref(uuid), device) == 0
    text = bytes(uuid).hex()
    return "GPU-" + "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def bus_of(device: int) -> str:
    text = create_string_buffer(32)
    assert CUDA.cudaDeviceGetPCIBusId(text, len(text), device) == 0
    return text.value.decode()


def malloc() -> int:
    return int(CUDA.cudaMalloc(byref(c_void_p()), c_size_t(TAKEN_BYTES)))


def used_by_cuda() -> tuple[int, int]:
    free, total = c_size_t(), c_size_t()
    return CUDA.cudaMemGetInfo(byref(free), byref(total)), total.value - free.value


def use(device: int) -> int:
    """Allocate on the device, and return the memory that CUDA reports in use on it."""
    assert CUDA.cudaSetDevice(device) == 0
    assert malloc() == 0
    return used_by_cuda()[1]


def nvml_uuids() -> list[str]:
    return [pynvml.nvmlDeviceGetUUID(handle) for handle in nvml_handles()]


def nvml_used() -> list[int]:
    return [pynvml.nvmlDeviceGetMemoryInfo(h, version=pynvml.nvmlMemory_v2).used for h in nvml_handles()]


def nvml_handles() -> list[Any]:
    return [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]


def in_a_child(value: str | None) -> dict[str, Any]:
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.write(writing, json.dumps(look(value)).encode())
        os._exit(0)
    os.close(writing)
    os.wait()
    with open(reading) as answer:
        found: dict[str, Any] = json.loads(answer.read() or '{"crashed": true}')
    return found


torch.set_num_threads(1)  # threads do not survive a fork
print(json.dumps({"seen": [in_a_child(value) for value in json.loads(sys.argv[1])]}))
