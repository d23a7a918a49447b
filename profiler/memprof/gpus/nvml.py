"""NVML's view of the GPUs, as `nvidia-smi` shows it. The only module that imports pynvml.

The contract:

- Nothing here raises because of NVML. What NVML, the driver or pynvml does not answer is ``None`` or left out.
- Amounts are in bytes. A GPU's use counts all processes and CUDA contexts, without what the driver reserves.
- NVML lists every GPU of the machine in its own order. CUDA shows those that ``CUDA_VISIBLE_DEVICES`` leaves, in
  another order, so a CUDA device is found by its UUID or PCI address.
- No CUDA context is made, and torch is not imported: the parent process may use all of this.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Protocol

try:
    import pynvml
except ImportError:
    pynvml = None


class CudaProperties(Protocol):
    """What `torch.cuda.get_device_properties` returns; the PCI address is read too, if PyTorch reports it."""

    @property
    def uuid(self) -> Any:
        """The device's UUID; its text has no ``GPU-`` or ``MIG-`` in front."""


class NvmlGpu:
    """One GPU as NVML sees it. Every answer is ``None`` if NVML has none."""

    def __init__(self, library: ModuleType, handle: Any) -> None:
        self._library = library
        self._handle = handle

    def name(self) -> str | None:
        """The GPU's name, e.g. ``NVIDIA H100 80GB HBM3``."""
        return _text(self._ask("nvmlDeviceGetName", self._handle))

    def uuid(self) -> str | None:
        """The GPU's UUID, with ``GPU-`` in front."""
        return _text(self._ask("nvmlDeviceGetUUID", self._handle))

    def compute_capability(self) -> str | None:
        """The compute capability, e.g. ``9.0``."""
        capability = self._ask("nvmlDeviceGetCudaComputeCapability", self._handle)
        return None if capability is None else ".".join(map(str, capability))

    def driver_version(self) -> str | None:
        """The driver's version, e.g. ``580.65.06``."""
        return _text(self._ask("nvmlSystemGetDriverVersion"))

    def total_bytes(self) -> int | None:
        """The GPU's memory; PyTorch reports less, by what the driver reserves."""
        memory = self._memory()
        return None if memory is None else int(memory.total)

    def used_bytes(self) -> int | None:
        """Memory in use on the GPU by all processes."""
        memory = self._memory()
        return None if memory is None else int(memory.used)

    def own_bytes(self) -> int | None:
        """Memory in use by this process: ``None`` in containers and with drivers that do not report it."""
        processes = self._ask("nvmlDeviceGetComputeRunningProcesses", self._handle) or ()
        own = [process.usedGpuMemory for process in processes if process.pid == os.getpid()]
        return int(own[0]) if own and own[0] is not None else None

    def processes(self) -> Mapping[int, int | None]:
        """Memory in use by process id; a driver may list a process without its memory."""
        found = dict[int, int | None]()
        for kind in ("Graphics", "Compute"):  # a process may be both, with the same figure
            processes = self._ask(f"nvmlDeviceGet{kind}RunningProcesses", self._handle) or ()
            found |= {process.pid: process.usedGpuMemory for process in processes}
        return found

    def _memory(self) -> Any:
        """Version 2 of the answer, which separates what the driver reserves; version 1 counts it as used."""
        return self._ask("nvmlDeviceGetMemoryInfo", self._handle, version=self._library.nvmlMemory_v2)

    def _ask(self, call: str, *arguments: Any, **keywords: Any) -> Any:
        try:
            return getattr(self._library, call)(*arguments, **keywords)
        except self._library.NVMLError:
            return None


def open_nvml(properties: CudaProperties) -> NvmlGpu | None:
    """Return NVML's view of a CUDA device, or ``None`` without NVML; it stays open until the process ends."""
    if pynvml is None or not _initialize(pynvml):
        return None
    handle = _find_handle(pynvml, properties)
    return NvmlGpu(pynvml, handle) if handle is not None else None


@contextmanager
def every_gpu() -> Iterator[tuple[NvmlGpu, ...]]:
    """Yield all GPUs of the machine in NVML's order, while NVML is open; none without NVML."""
    if pynvml is None or not _initialize(pynvml):
        yield ()
        return
    try:
        yield tuple(NvmlGpu(pynvml, handle) for handle in _handles(pynvml))
    finally:
        pynvml.nvmlShutdown()


def used_by_uuid() -> dict[str, int]:
    """Return the memory in use on each GPU by all processes, by UUID (``GPU-...``)."""
    with every_gpu() as gpus:
        found = {gpu.uuid(): gpu.used_bytes() for gpu in gpus}
    return {uuid: used for uuid, used in found.items() if uuid is not None and used is not None}


def _initialize(library: ModuleType) -> bool:
    try:
        library.nvmlInit()
    except library.NVMLError:
        return False
    return True


def _handles(library: ModuleType) -> tuple[Any, ...]:
    try:
        return tuple(library.nvmlDeviceGetHandleByIndex(index) for index in range(library.nvmlDeviceGetCount()))
    except library.NVMLError:
        return ()


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


def _text(answer: str | bytes | None) -> str | None:
    """Older versions of pynvml answer with bytes."""
    return answer.decode() if isinstance(answer, bytes) else answer
