"""The real GPUs of this machine, as NVML lists them. No torch, and no CUDA context is made."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pynvml


@dataclass(frozen=True, kw_only=True)
class RealGpu:
    """One GPU that CUDA would show this process."""

    name: str
    uuid: str
    total_bytes: int
    used_bytes: int  # by all processes, without what the driver reserves
    compute_capability: str
    driver_version: str


@dataclass(frozen=True, kw_only=True)
class RealUse:
    """What NVML counts on one GPU at one moment, as nvidia-smi shows it. Unknown is ``None``."""

    used_bytes: int | None  # by all processes, without what the driver reserves
    processes: Mapping[int, int | None]  # by process id; in containers the driver may not tell the bytes


@contextmanager
def watch_real_gpus() -> Iterator[Callable[[], list[tuple[RealGpu, RealUse]]]]:
    """Keep NVML open for the block; it yields what tells the use of each GPU of `list_real_gpus`, in that order."""
    gpus = list_real_gpus()
    if not gpus:
        yield list
        return
    pynvml.nvmlInit()
    try:
        yield lambda: [(gpu, _read_use(gpu)) for gpu in gpus]
    finally:
        pynvml.nvmlShutdown()


def _read_use(gpu: RealGpu) -> RealUse:
    used, processes = None, dict[int, int | None]()
    with suppress(pynvml.NVMLError):  # a GPU may fall off the bus
        handle = pynvml.nvmlDeviceGetHandleByUUID(gpu.uuid)
        used = int(pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2).used)
        for kind in ("Graphics", "Compute"):  # a process may be both, with the same figure
            with suppress(pynvml.NVMLError):
                found = getattr(pynvml, f"nvmlDeviceGet{kind}RunningProcesses")(handle)
                processes |= {process.pid: process.usedGpuMemory for process in found}
    return RealUse(used_bytes=used, processes=processes)


def list_real_gpus() -> tuple[RealGpu, ...]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES leaves visible, in CUDA's order; empty where there is no driver."""
    if os.environ.get("MEMPROF_PHANTOM"):  # inside `memprof run` NVML tells of the phantom
        return ()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        gpus = tuple(_read(index) for index in range(pynvml.nvmlDeviceGetCount()))
        return visible_gpus(gpus, os.environ.get("CUDA_VISIBLE_DEVICES"))
    except pynvml.NVMLError:
        return ()
    finally:
        pynvml.nvmlShutdown()


def _read(index: int) -> RealGpu:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    return RealGpu(
        name=pynvml.nvmlDeviceGetName(handle),
        uuid=pynvml.nvmlDeviceGetUUID(handle),
        total_bytes=memory.total,
        used_bytes=memory.used,
        compute_capability=f"{major}.{minor}",
        driver_version=pynvml.nvmlSystemGetDriverVersion(),
    )


def visible_gpus(gpus: tuple[RealGpu, ...], names: str | None) -> tuple[RealGpu, ...]:
    """Return the GPUs that CUDA shows where CUDA_VISIBLE_DEVICES is `names`, or all where it is not set.

    They are named by index or by the start of their UUID, and the list ends at the first that is not there. Source: the
    CUDA Programming Guide, CUDA Environment Variables.
    """
    if names is None:
        return gpus
    shown: list[RealGpu] = []
    for name in names.split(","):
        found = _named(gpus, name.strip())
        if found is None:
            break
        shown.append(found)
    return tuple(shown)


def _named(gpus: tuple[RealGpu, ...], name: str) -> RealGpu | None:
    if name.isdigit():
        return gpus[int(name)] if int(name) < len(gpus) else None
    return next((gpu for gpu in gpus if name and gpu.uuid.startswith(name)), None)
