"""What `watch_real_gpus` reads of GPUs in use, from the phantom's NVML, which answers as a driver does."""

from __future__ import annotations

import ctypes
import json
import os

cuda = ctypes.CDLL(None)
cuda.cudaSetDevice(1)
cuda.cudaMalloc(ctypes.byref(ctypes.c_void_p()), ctypes.c_size_t(1 << 30))
del os.environ["MEMPROF_PHANTOM"]  # the phantom has read it; without it real.py takes NVML for a real one

from memprof.gpus.real import watch_real_gpus  # noqa: E402

with watch_real_gpus() as read:
    seen = [(gpu.name, gpu.total_bytes, use.used_bytes, use.processes) for gpu, use in read()]
print(json.dumps({"seen": seen, "pid": os.getpid()}))
