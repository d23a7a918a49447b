"""Choosing what to measure on: a real GPU first, else a phantom, else only the analytic estimate. No torch here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from memprof.errors import DeviceError
from memprof.gpus.catalog import DEFAULT_GPU, find_gpu, load_catalog
from memprof.gpus.generic import described
from memprof.gpus.phantom.build import build_phantom
from memprof.gpus.phantom.environment import worker_environment
from memprof.gpus.phantom.torch_install import find_torch
from memprof.gpus.real import RealGpu, list_real_gpus
from memprof.gpus.spec import GpuSpec
from memprof.gpus.traits import GpuTraits, default_traits, real_traits, traits_of
from memprof.records import Source

BF16_SINCE = 8  # the major compute capability: Ampere's tensor cores were the first to multiply in bfloat16
_REAL = re.compile(r"cuda(?::(\d+))?")


@dataclass(frozen=True, kw_only=True)
class Device:
    """The device that a sweep runs on. `environment` is added to the worker's; a phantom needs nothing else."""

    source: Source
    name: str  # as the driver gives it; the catalog's name for a phantom
    index: int  # torch's device index
    total_bytes: int | None
    traits: GpuTraits  # without a GPU, those of the default GPU
    explanation: str  # one line: what was chosen, and why
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def choice(self) -> str:
        """What `choose_device` takes to choose this device; without a GPU, ``auto``."""
        names = {Source.MEASURED: f"cuda:{self.index}", Source.EMULATED: self.name, Source.ANALYTIC: "auto"}
        return names[self.source]


def choose_device(gpu: str, required: Source | None = None) -> Device:
    """Return the device for `gpu`: ``auto``, ``cuda``, ``cuda:N`` or a name of the catalog.

    ``auto`` chooses the first real GPU, else the phantom of the default GPU, else none: then there is only the analytic
    estimate, and the explanation gives the reason. `required` is the only source that the results may have.

    Raises:
        DeviceError: the named GPU is unavailable, or the results would have another source than `required`.
    """
    device = _choose(gpu)
    if required is not None and device.source is not required:
        raise DeviceError(f"--require {required.value}: results would be {device.source.value} ({device.explanation})")
    return device


def _choose(gpu: str) -> Device:
    real = _REAL.fullmatch(gpu)
    if real:
        return _real_device(int(real[1] or 0))
    if gpu != "auto":
        return phantom_device(find_gpu(gpu))
    if list_real_gpus():
        return _real_device(0)
    try:
        return phantom_device(find_gpu(DEFAULT_GPU), why="no real GPU found; ")
    except DeviceError as error:
        return analytic_device(str(error))


def multiplies_bf16(device: Device) -> bool:
    """Return whether the GPU multiplies in bfloat16; without a GPU it does not matter."""
    return device.source is Source.ANALYTIC or int(device.traits.compute_capability.partition(".")[0]) >= BF16_SINCE


def phantom_device(spec: GpuSpec, why: str = "") -> Device:
    """Return the phantom of `spec`; the first use builds the phantom's libraries.

    Raises:
        DeviceError: phantoms are unavailable on this machine, or the installed PyTorch has no kernels for that GPU.
    """
    libraries = build_phantom()
    _refuse_dropped(spec)
    return Device(
        source=Source.EMULATED,
        name=spec.key,
        index=0,
        total_bytes=spec.total_bytes,
        traits=traits_of(spec),
        environment=worker_environment(libraries, spec),
        explanation=f"{why}emulating {described(spec, DEFAULT_GPU)} on a phantom GPU",
    )


def runnable_gpus() -> list[str]:
    """Return the names of the catalog, without the GPUs that the installed PyTorch has no kernels for."""
    install = find_torch()
    return [key for key, spec in load_catalog().items() if not (install and install.has_dropped(spec.capability))]


def _refuse_dropped(spec: GpuSpec) -> None:
    install = find_torch()
    if install and install.has_dropped(spec.capability):
        lowest = ".".join(map(str, install.lowest_capability))
        raise DeviceError(
            f"PyTorch {install.torch_version} has no kernels for {spec.name} ({spec.key}): it needs compute capability "
            f"{lowest} or newer, and this GPU has {spec.compute_capability}; install a PyTorch build for CUDA 12.6"
        )


def analytic_device(reason: str) -> Device:
    """Return the device of a sweep without any GPU: there is only the analytic estimate, and no counters are read."""
    return Device(
        source=Source.ANALYTIC,
        name="none",
        index=0,
        total_bytes=None,
        traits=default_traits(),
        explanation=f"no real GPU and no phantom, so only the analytic estimate: {reason}",
    )


def _real_device(index: int) -> Device:
    gpus = list_real_gpus()
    if index >= len(gpus):
        raise DeviceError(f"there is no real GPU cuda:{index} ({_count(gpus)}); choose one that `memprof gpus` lists")
    found = gpus[index]
    return Device(
        source=Source.MEASURED,
        name=found.name,
        index=index,
        total_bytes=found.total_bytes,
        traits=real_traits(found.name, found.compute_capability),
        explanation=f"measuring on {found.name} (cuda:{index})",
    )


def _count(gpus: tuple[RealGpu, ...]) -> str:
    return f"{len(gpus)} found" if gpus else "none found"
