"""Starts `storage.py` with the library that lets calls fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.paths import ROOT
from tests.reliability.faults.injection import Injector, build_library


def inject_into_storage(folder: Path) -> dict[str, Any]:
    """Run every fault of every scenario of `storage.py`; return its answer."""
    library = build_library(folder)
    fast = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # in memory, where fsync takes no time
    with tempfile.TemporaryDirectory(dir=fast) as below:
        added = Injector(folder / "plan").variables(library, Path(below))
        done = subprocess.run(
            [sys.executable, "-m", "tests.reliability.faults.storage", below],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **added},
            stdout=subprocess.PIPE,
            check=True,
        )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
