"""Which engine a command uses, and on which device; the packages of clusters are imported only if one is chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from memprof.config.load import LoadedConfig
from memprof.engines.options import EngineKind, EngineOptions
from memprof.engines.protocol import Engine
from memprof.errors import DeviceError
from memprof.gpus.catalog import DEFAULT_GPU, find_gpu
from memprof.gpus.generic import described
from memprof.gpus.select import Device, choose_device
from memprof.gpus.traits import traits_of
from memprof.records import Source


def choose_engine_device(gpu: str, required: Source | None, options: EngineOptions) -> Device:
    """Return the device for `gpu` on the machines of the engine.

    On a cluster, a name of the catalog with ``--require measured`` is a real GPU of that name.

    Raises:
        DeviceError: it is unavailable.
    """
    is_name = gpu != "auto" and not gpu.startswith("cuda")
    if options.kind is EngineKind.LOCAL or not (required is Source.MEASURED and is_name):
        device = choose_device(gpu, required)
        if options.kind is not EngineKind.LOCAL and device.source is Source.ANALYTIC:
            raise DeviceError(f"--engine {options.kind} needs a GPU, real or simulated: {device.explanation}")
        return device if options.kind is EngineKind.LOCAL else replace(device, index=0)  # a runner sees its own alone
    spec = find_gpu(gpu)
    return Device(
        source=Source.MEASURED,
        name=spec.name,
        index=0,
        total_bytes=spec.total_bytes,
        traits=traits_of(spec),
        explanation=f"measuring on {described(spec, DEFAULT_GPU)} in the cluster",
    )


def open_engine(
    configs: Sequence[LoadedConfig], device: Device, options: EngineOptions, most: int, note: Callable[[str], None]
) -> AbstractContextManager[Engine]:
    """Return the engine of a cluster, for at most `most` points at a time; `note` prints one line.

    Raises:
        ConfigError: the package of the engine is missing.
    """
    if options.kind is EngineKind.SLURM:
        from memprof.engines.slurm_engine import SlurmEngine

        return SlurmEngine(configs, device, options, most, note)
    from memprof.engines.ray_engine import RayEngine

    return RayEngine(configs, device, options, most, note)
