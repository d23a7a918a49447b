"""NVML of two phantoms, through pynvml."""

from __future__ import annotations

import ctypes
import json
from typing import Any

import pynvml

pynvml.nvmlInit()
cuda = ctypes.CDLL(None)
handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]


def about(handle: Any) -> dict[str, Any]:
    uuid, pci = pynvml.nvmlDeviceGetUUID(handle), pynvml.nvmlDeviceGetPciInfo(handle)
    used = pynvml.nvmlDeviceGetUtilizationRates(handle)
    return {
        "name": pynvml.nvmlDeviceGetName(handle),
        "uuid": uuid,
        "index": pynvml.nvmlDeviceGetIndex(handle),
        "minor": pynvml.nvmlDeviceGetMinorNumber(handle),
        "bus": pci.busId,
        "by_uuid": pynvml.nvmlDeviceGetIndex(pynvml.nvmlDeviceGetHandleByUUID(uuid)),
        "by_bus": pynvml.nvmlDeviceGetIndex(pynvml.nvmlDeviceGetHandleByPciBusId(pci.busId)),
        "utilization": [used.gpu, used.memory],
        "temperature": pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU),
        "power": pynvml.nvmlDeviceGetPowerUsage(handle),
        "clocks": [pynvml.nvmlDeviceGetClockInfo(handle, clock) for clock in (0, 1, 2)],
        "highest_clocks": [pynvml.nvmlDeviceGetMaxClockInfo(handle, clock) for clock in (0, 1, 2)],
        "graphics": len(pynvml.nvmlDeviceGetGraphicsRunningProcesses(handle)),
    }


def memory() -> list[dict[str, int]]:
    found = []
    for handle in handles:
        first = pynvml.nvmlDeviceGetMemoryInfo(handle)
        second = pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
        found.append(
            {
                "used": second.used,
                "used_v1": first.used,
                "reserved": second.reserved,
                "total": second.total,
                "adds_up": second.used + second.reserved + second.free == second.total == first.total
                and first.used + first.free == first.total,
                "processes": len(pynvml.nvmlDeviceGetComputeRunningProcesses(handle)),
            }
        )
    return found


def error_of(function: Any, *arguments: Any) -> str:
    try:
        function(*arguments)
    except pynvml.NVMLError as error:
        return type(error).__name__
    return "none"


found: dict[str, Any] = {"devices": [about(handle) for handle in handles], "untouched": memory()}
cuda.cudaSetDevice(1)
cuda.cudaMalloc(ctypes.byref(ctypes.c_void_p()), ctypes.c_size_t(1 << 30))
found["touched"] = memory()
found["driver"] = pynvml.nvmlSystemGetDriverVersion()
found["cuda"] = pynvml.nvmlSystemGetCudaDriverVersion()
found["errors"] = {
    "fan": error_of(pynvml.nvmlDeviceGetFanSpeed, handles[0]),
    "video clock": error_of(pynvml.nvmlDeviceGetClockInfo, handles[0], pynvml.NVML_CLOCK_VIDEO),
    "index": error_of(pynvml.nvmlDeviceGetHandleByIndex, 2),
    "uuid": error_of(pynvml.nvmlDeviceGetHandleByUUID, "GPU-00000000-0000-0000-0000-000000000000"),
    "bus": error_of(pynvml.nvmlDeviceGetHandleByPciBusId, "nonsense"),
}
pynvml.nvmlShutdown()
print(json.dumps(found))
