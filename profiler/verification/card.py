"""The phantom of the card at hand: the card is read in a process of its own, and the phantom plays just that."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from profiler.device import Device, phantom_device
from profiler.errors import DeviceError
from profiler.phantom.catalog import GpuSpec

_LIMIT_SECONDS = 300


def phantom_of(card: Device) -> Device:
    """Return the phantom that plays `card`, whatever the catalog knows of it.

    Raises:
        DeviceError: the card cannot be read, or this machine cannot have a phantom.
    """
    return phantom_device(_spec(read_card(card)))


def read_card(card: Device) -> dict[str, Any]:
    """Return what `profiler.worker.card` reads of `card`.

    Raises:
        DeviceError: it cannot be read.
    """
    package_root = str(Path(__file__).parents[2])
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    child = subprocess.run(
        [sys.executable, "-P", "-m", "profiler.worker.card", str(card.index)],
        env={**os.environ, **card.environment, "PYTHONPATH": os.pathsep.join([*paths, package_root])},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_LIMIT_SECONDS,
        check=False,
    )
    if child.returncode != 0:
        reason = (child.stderr.strip().splitlines() or [f"it ended with {child.returncode}"])[-1]
        raise DeviceError(f"{card.name} cannot be read: {reason}")
    found: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return found


def _spec(read: Mapping[str, Any]) -> GpuSpec:
    key = "-".join(re.findall(r"[a-z0-9]+", read["name"].lower()))
    return GpuSpec(key=key, sources=("read from the card",), assumed=(), **read)
