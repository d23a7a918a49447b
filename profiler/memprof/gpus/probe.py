"""Running a module of memprof on a GPU in a separate process, for the JSON that it prints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from memprof.errors import DeviceError
from memprof.gpus.python_path import child_python_path
from memprof.gpus.select import Device

_LIMIT_SECONDS = 300


def ask_gpu(gpu: Device, module: str) -> dict[str, Any]:
    """Run `module` with the index of `gpu`, real or phantom, and return the JSON object that it prints.

    Raises:
        DeviceError: the module fails; the message has the last line of its stderr.
    """
    child = subprocess.run(
        [sys.executable, "-P", "-m", module, str(gpu.index)],
        env={**os.environ, **gpu.environment, "PYTHONPATH": child_python_path()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_LIMIT_SECONDS,
        check=False,
    )
    if child.returncode != 0:
        reason = (child.stderr.strip().splitlines() or [f"it ended with {child.returncode}"])[-1]
        raise DeviceError(f"{gpu.name} cannot be read: {reason}")
    found: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return found
