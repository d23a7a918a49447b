"""One process of a run: for each line of numbers, tries to take that many bytes, and says what came of it."""

from __future__ import annotations

import ctypes
import json
import sys
from ctypes import byref, c_size_t, c_void_p

import pynvml

cuda = ctypes.CDLL(None)  # the preloaded phantom's names come first
pynvml.nvmlInit()
for line in sys.stdin:
    granted = cuda.cudaMalloc(byref(c_void_p()), c_size_t(int(line))) == 0
    free, total = c_size_t(), c_size_t()
    cuda.cudaMemGetInfo(byref(free), byref(total))
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    said = {
        "granted": granted,
        "used": total.value - free.value,
        "nvml_used": pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2).used,
        "processes": {process.pid: process.usedGpuMemory for process in processes},
    }
    print(json.dumps(said), flush=True)
