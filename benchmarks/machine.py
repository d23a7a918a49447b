"""Describe the machine and the versions, since figures compare only within one of each."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from benchmarks.timing import run_python

VERSIONS = """
import torch, torchvision
found = torch.__version__, torchvision.__version__, torch.version.cuda, torch.backends.cudnn.version()
print("torch {}, torchvision {}, CUDA {}, cuDNN {}".format(*found))
"""


def describe_machine() -> tuple[str, ...]:
    """Return the machine and the versions, one line each."""
    versions = run_python(["-c", VERSIONS]).output.strip()
    return (
        f"{len(os.sched_getaffinity(0))} cores of {_cpu()}, {platform.system()} {platform.machine()}",
        f"Python {platform.python_version()}, {versions}",
    )


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "an unknown CPU"
