"""Promise 2: a result is there once and whole, or not at all, whichever call of its writer fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from memprof.errors import DeviceError
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


def test_storage_is_whole_or_absent_after_every_fault(tmp_path: Path) -> None:
    try:
        answer = inject_into_storage(tmp_path)
    except DeviceError as error:
        pytest.skip(str(error))
    assert answer["problems"] == []
    assert all(calls > 0 for calls in answer["calls"].values())
    assert answer["cases"] == 6 * sum(answer["calls"].values())  # three errors, once and from then on
