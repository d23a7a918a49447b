"""A module of `memprof.worker` run on a card in a process of its own, for the JSON that it prints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from memprof.errors import DeviceError
from memprof.gpus.select import Device

_LIMIT_SECONDS = 300


def ask_gpu(card: Device, module: str) -> dict[str, Any]:
    """Return what `module` prints when it is run with the index of `card`, real or phantom.

    Raises:
        DeviceError: it fails; the message is the last line that it said.
    """
    package_root = str(Path(__file__).parents[2])
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    child = subprocess.run(
        [sys.executable, "-P", "-m", module, str(card.index)],
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
