"""The phantom of the card at hand: the card is read in a process of its own, and the phantom plays just that."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from memprof.gpus.catalog import GpuSpec
from memprof.gpus.probe import ask_gpu
from memprof.gpus.select import Device, phantom_device


def phantom_of(card: Device) -> Device:
    """Return the phantom that plays `card`, whatever the catalog knows of it.

    Raises:
        DeviceError: the card cannot be read, or this machine cannot have a phantom.
    """
    return phantom_device(_spec(read_gpu(card)))


def read_gpu(card: Device) -> dict[str, Any]:
    """Return what `memprof.gpus.probe_device` reads of `card`.

    Raises:
        DeviceError: it cannot be read.
    """
    return ask_gpu(card, "memprof.gpus.probe_device")


def _spec(read: Mapping[str, Any]) -> GpuSpec:
    key = "-".join(re.findall(r"[a-z0-9]+", read["name"].lower()))
    return GpuSpec(key=key, sources=("read from the card",), assumed=(), **read)
