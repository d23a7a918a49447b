"""Choosing what to measure on: a real GPU first, else a phantom, else the formulas alone. No torch here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from memprof.errors import DeviceError
from memprof.gpus.catalog import DEFAULT_GPU, GpuSpec, find_gpu, load_catalog
from memprof.gpus.phantom.build import build_phantom
from memprof.gpus.phantom.environment import worker_environment
from memprof.gpus.phantom.torch_install import find_torch
from memprof.gpus.real import RealGpu, list_real_gpus
from memprof.records import Source

_REAL = re.compile(r"cuda(?::(\d+))?")


@dataclass(frozen=True, kw_only=True)
class Device:
    """What a sweep runs on. `environment` is added to the worker's, and is all that a phantom needs."""

    source: Source
    name: str  # as the driver gives it; the catalog's name for a phantom
    index: int  # torch's device index
    total_bytes: int | None
    explanation: str  # one line: what was taken, and why
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def choose_device(gpu: str) -> Device:
    """Return the device for `gpu`: ``auto``, ``cuda``, ``cuda:N`` or a name of the catalog.

    ``auto`` takes the first real GPU, else the phantom of the default GPU, else none: then only the analytic breakdown
    can be had, and the explanation says why.

    Raises:
        DeviceError: the GPU that was named cannot be had here.
    """
    real = _REAL.fullmatch(gpu)
    if real:
        return _real_device(int(real[1] or 0))
    if gpu != "auto":
        return phantom_device(find_gpu(gpu))
    if list_real_gpus():
        return _real_device(0)
    try:
        return phantom_device(find_gpu(DEFAULT_GPU), why="no real GPU here; ")
    except DeviceError as error:
        return analytic_device(str(error))


def phantom_device(spec: GpuSpec, why: str = "") -> Device:
    """Return the phantom of `spec`, building the phantom's libraries if this is their first use.

    Raises:
        DeviceError: this machine cannot have a phantom, or the installed PyTorch could not run on that GPU.
    """
    libraries = build_phantom()
    _refuse_dropped(spec)
    return Device(
        source=Source.EMULATED,
        name=spec.key,
        index=0,
        total_bytes=spec.total_bytes,
        environment=worker_environment(libraries, spec),
        explanation=f"{why}emulating {spec.name} ({spec.key}) on a phantom GPU",
    )


def runnable_gpus() -> list[str]:
    """Return the names of the catalog, without the GPUs that the installed PyTorch could not run on."""
    install = find_torch()
    return [key for key, spec in load_catalog().items() if not (install and install.has_dropped(spec.capability))]


def _refuse_dropped(spec: GpuSpec) -> None:
    install = find_torch()
    if install and install.has_dropped(spec.capability):
        lowest = ".".join(map(str, install.lowest_capability))
        raise DeviceError(
            f"PyTorch {install.torch_version} runs on compute capability {lowest} and newer, and {spec.name} "
            f"({spec.key}) has {spec.compute_capability}: on the card every kernel would fail; "
            "a build for CUDA 12.6 has them"
        )


def analytic_device(reason: str) -> Device:
    """Return the absence of any device: breakdowns come from formulas, and nothing is read from counters."""
    return Device(
        source=Source.ANALYTIC,
        name="none",
        index=0,
        total_bytes=None,
        explanation=f"no GPU, real or phantom, so the analytic breakdown alone: {reason}",
    )


def _real_device(index: int) -> Device:
    gpus = list_real_gpus()
    if index >= len(gpus):
        raise DeviceError(f"there is no real GPU cuda:{index} here ({_count(gpus)}); name one of the catalog instead")
    found = gpus[index]
    return Device(
        source=Source.MEASURED,
        name=found.name,
        index=index,
        total_bytes=found.total_bytes,
        explanation=f"measuring on {found.name} (cuda:{index})",
    )


def _count(gpus: tuple[RealGpu, ...]) -> str:
    return f"{len(gpus)} found" if gpus else "none found"
