"""The environment variables of a worker server: those of this process, and what the device and config add."""

from __future__ import annotations

import os
from pathlib import Path

from memprof.gpus.select import Device


def server_variables(device: Device, allocator: str | None) -> dict[str, str]:
    """Return the variables of a worker server for `device`; `allocator` is the config's setting, if it has one."""
    package_root = str(Path(__file__).parents[2])
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*paths, package_root]),
        # PyTorch 2.14 warns of each allocation that fails, also of those that it then does without.
        "TORCH_CPP_LOG_LEVEL": os.environ.get("TORCH_CPP_LOG_LEVEL", "ERROR"),
        "OMP_NUM_THREADS": "1",  # threads of OpenMP would not survive the fork
        "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # is_available() without initializing CUDA's driver
        **device.environment,
    }
    changes = allocator_variables(allocator)
    return {**environment, **{name: value for name, value in changes.items() if value is not None}}


def allocator_variables(allocator: str | None) -> dict[str, str | None]:
    """Return a config's allocator settings as variables; without any, those of this process, or ``None``."""
    # PyTorch renamed the variable (2.9 reads only the old name); both are set so that neither of the user's own wins.
    names = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
    return {name: os.environ.get(name) if allocator is None else allocator for name in names}
