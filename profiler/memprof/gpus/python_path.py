"""The PYTHONPATH of a child process."""

from __future__ import annotations

import os
from pathlib import Path


def child_python_path() -> str:
    """Return the value of PYTHONPATH with which a child finds this memprof, after the user's own folders.

    It works whether or not memprof is installed. Start the child with ``-P``: then the current folder is not searched.
    """
    package_root = str(Path(__file__).parents[2])
    own = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return os.pathsep.join([*own, package_root])
