"""NVML's view of the device: what `nvidia-smi` would show. The only module that imports pynvml."""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any

import torch

try:
    import pynvml
except ImportError:
    pynvml = None


class Nvml:
    """One device as NVML sees it. Every answer is ``None`` where NVML has none."""

    def __init__(self, library: ModuleType, handle: Any) -> None:
        self._library = library
        self._handle = handle

    def used_bytes(self) -> int | None:
        """Memory in use on the device by all processes, from `nvmlDeviceGetMemoryInfo` in version 2.

        Version 2 keeps what the driver reserves for itself apart; version 1 counted it as used.
        """
        info = self._ask("nvmlDeviceGetMemoryInfo", self._handle, version=self._library.nvmlMemory_v2)
        return int(info.used) if info is not None else None

    def own_bytes(self) -> int | None:
        """Memory in use by this process: ``None`` inside containers and on drivers that do not tell."""
        processes = self._ask("nvmlDeviceGetComputeRunningProcesses", self._handle) or ()
        own = [process.usedGpuMemory for process in processes if process.pid == os.getpid()]
        return int(own[0]) if own and own[0] is not None else None

    def driver_version(self) -> str | None:
        """The driver's version, e.g. ``580.65.06``."""
        version = self._ask("nvmlSystemGetDriverVersion")
        return version.decode() if isinstance(version, bytes) else version

    def _ask(self, call: str, *arguments: Any, **keywords: Any) -> Any:
        try:
            return getattr(self._library, call)(*arguments, **keywords)
        except self._library.NVMLError:
            return None


def open_nvml(device: torch.device) -> Nvml | None:
    """Return NVML for a CUDA device, or ``None`` where NVML is not there.

    The device is found by its UUID or PCI address: NVML numbers all cards of the machine, CUDA only those
    that ``CUDA_VISIBLE_DEVICES`` leaves, in an order of its own.
    """
    if pynvml is None:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    handle = _find_handle(pynvml, torch.cuda.get_device_properties(device))
    return Nvml(pynvml, handle) if handle is not None else None


def used_by_uuid() -> dict[str, int]:
    """Return the memory in use on each device by all processes, by UUID (``GPU-...``); no CUDA context is made."""
    if pynvml is None:
        return {}
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        found = {pynvml.nvmlDeviceGetUUID(handle): Nvml(pynvml, handle).used_bytes() for handle in handles}
    except pynvml.NVMLError:
        return {}
    return {uuid: used for uuid, used in found.items() if used is not None}


def _find_handle(library: ModuleType, properties: Any) -> Any:
    uuid, bus = getattr(properties, "uuid", None), getattr(properties, "pci_bus_id", None)
    ways = []
    if uuid is not None:
        ways += [("nvmlDeviceGetHandleByUUID", f"{kind}-{uuid}") for kind in ("GPU", "MIG")]
    if bus is not None:
        address = f"{properties.pci_domain_id:08X}:{bus:02X}:{properties.pci_device_id:02X}.0"
        ways.append(("nvmlDeviceGetHandleByPciBusId", address))
    for call, name in ways:
        try:
            return getattr(library, call)(name.encode())
        except library.NVMLError:
            continue
    return None
