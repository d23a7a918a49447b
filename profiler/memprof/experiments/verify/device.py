"""The phantom of this machine's GPU: its properties are read in a separate process, and the phantom has the same."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from memprof.gpus.probe import ask_gpu
from memprof.gpus.select import Device, phantom_device
from memprof.gpus.spec import GpuSpec


def phantom_of(gpu: Device) -> Device:
    """Return the phantom with the properties of `gpu`, whether or not the catalog has that GPU.

    Raises:
        DeviceError: the GPU cannot be read, or no phantom can be built on this machine.
    """
    return phantom_device(_spec(read_gpu(gpu)))


def read_gpu(gpu: Device) -> dict[str, Any]:
    """Return the properties that `memprof.gpus.probe_device` reads from `gpu`.

    Raises:
        DeviceError: the GPU cannot be read.
    """
    return ask_gpu(gpu, "memprof.gpus.probe_device")


def _spec(read: Mapping[str, Any]) -> GpuSpec:
    key = "-".join(re.findall(r"[a-z0-9]+", read["name"].lower()))
    return GpuSpec(key=key, sources=("read from the GPU",), assumed=(), **read)
