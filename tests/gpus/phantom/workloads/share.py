"""A process on a phantom: for each line with a number it allocates that many bytes and prints the counters.

A negative number frees the last allocation.
"""

from __future__ import annotations

import ctypes
import json
import sys
from ctypes import byref, c_size_t, c_void_p

import pynvml

cuda = ctypes.CDLL(None)  # the preloaded phantom's names come first
pynvml.nvmlInit()
taken: list[c_void_p] = []
for line in sys.stdin:
    if int(line) < 0:
        granted = cuda.cudaFree(taken.pop()) == 0
    else:
        taken.append(c_void_p())
        granted = cuda.cudaMalloc(byref(taken[-1]), c_size_t(int(line))) == 0
    free, total = c_size_t(), c_size_t()
    cuda.cudaMemGetInfo(byref(free), byref(total))
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    answer = {
        "granted": granted,
        "used": total.value - free.value,
        "nvml_used": pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2).used,
        "processes": {process.pid: process.usedGpuMemory for process in processes},
    }
    print(json.dumps(answer), flush=True)
