"""The real GPUs of this machine that CUDA shows. No torch, and no CUDA context is made."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from memprof.gpus.nvml import NvmlGpu, every_gpu
from memprof.gpus.phantom.environment import runs_on_phantom

_INDEX = re.compile(r"\s*\+?(\d+)")


@dataclass(frozen=True, kw_only=True)
class RealGpu:
    """One GPU that CUDA shows this process."""

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
    processes: Mapping[int, int | None]  # by process id; in containers the driver may not report the bytes


@contextmanager
def watch_real_gpus() -> Iterator[Callable[[], list[tuple[RealGpu, RealUse]]]]:
    """Keep NVML open for the block; it yields a function that reads each GPU of `list_real_gpus`, in that order."""
    listed = list_real_gpus()
    with every_gpu() as every:
        by_uuid = {gpu.uuid(): gpu for gpu in every}
        watched = [(real, by_uuid[real.uuid]) for real in listed if real.uuid in by_uuid]
        yield lambda: [(real, _read_use(gpu)) for real, gpu in watched]


def _read_use(gpu: NvmlGpu) -> RealUse:
    return RealUse(used_bytes=gpu.used_bytes(), processes=gpu.processes())


def list_real_gpus() -> tuple[RealGpu, ...]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES leaves visible, in CUDA's order; empty without a driver."""
    if runs_on_phantom():  # inside `memprof run` NVML lists the phantom
        return ()
    with every_gpu() as every:
        gpus = [gpu for gpu in map(_describe, every) if gpu is not None]
        if len(gpus) < len(every):  # an index of CUDA_VISIBLE_DEVICES counts all GPUs, so none may be left out
            return ()
    return visible_gpus(tuple(gpus), os.environ.get("CUDA_VISIBLE_DEVICES"))


def _describe(gpu: NvmlGpu) -> RealGpu | None:
    """Return the GPU's figures, or ``None`` if NVML does not report one of them."""
    name, uuid, capability, driver = gpu.name(), gpu.uuid(), gpu.compute_capability(), gpu.driver_version()
    total, used = gpu.total_bytes(), gpu.used_bytes()
    if name is None or uuid is None or capability is None or driver is None or total is None or used is None:
        return None
    return RealGpu(
        name=name,
        uuid=uuid,
        total_bytes=total,
        used_bytes=used,
        compute_capability=capability,
        driver_version=driver,
    )


def visible_gpus(gpus: Sequence[RealGpu], names: str | None) -> tuple[RealGpu, ...]:
    """Return the GPUs that CUDA shows if CUDA_VISIBLE_DEVICES is `names`; ``None``: it is not set, and all are shown.

    The names are indices, or UUIDs that may be shortened to a beginning that only one GPU has. The list ends at the
    first that names no GPU. Source: the CUDA Programming Guide, CUDA Environment Variables. It does not mention three
    cases; `torch.cuda._parse_visible_devices` does: what follows the digits of an index is ignored, the first name
    decides between indices and UUIDs, and a list that names a GPU twice shows none. `visible.c` has the same rules.
    """
    if names is None:
        return tuple(gpus)
    find = _find_by_uuid if names.startswith("GPU-") else _find_by_index
    shown: list[RealGpu] = []
    for name in names.split(","):
        found = find(gpus, name)
        if found is None:
            break
        if found in shown:
            return ()
        shown.append(found)
    return tuple(shown)


def _find_by_index(gpus: Sequence[RealGpu], name: str) -> RealGpu | None:
    index = _INDEX.match(name)
    return gpus[int(index[1])] if index and int(index[1]) < len(gpus) else None


def _find_by_uuid(gpus: Sequence[RealGpu], name: str) -> RealGpu | None:
    found = [gpu for gpu in gpus if name.startswith("GPU-") and gpu.uuid.startswith(name)]
    return found[0] if len(found) == 1 else None
