"""The allocator's history of the processes of a run, as PyTorch's snapshots: `startup/sitecustomize.py` writes them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from memprof.errors import ResultError
from memprof.gpus.phantom.counters import TorchCounters

_VARIABLE = "MEMPROF_SNAPSHOTS"
_VALUES = "MEMPROF_VALUES"
_STARTUP = Path(__file__).with_name("startup")


@contextmanager
def snapshot_folder() -> Iterator[Path]:
    """Yield a folder for the snapshots of one run; it is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="memprof-snapshots-", ignore_cleanup_errors=True) as folder:
        yield Path(os.path.realpath(folder))


def snapshot_environment(folder: Path) -> Mapping[str, str]:
    """Return the variables with which each Python process of a run records its history, and writes it at its end."""
    return {_VARIABLE: str(folder), **startup_environment()}


def values_environment() -> Mapping[str, str]:
    """Return the variables with which each Python process of a run computes values on the CPU."""
    return {_VALUES: "cpu", **startup_environment()}


def startup_environment() -> Mapping[str, str]:
    """Return the variable with which Python runs `startup/sitecustomize.py` when it starts."""
    others = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": f"{_STARTUP}{os.pathsep}{others}" if others else str(_STARTUP)}


def keep_snapshot(folder: Path, counters: Sequence[TorchCounters], file: Path) -> int | None:
    """Move the snapshot of the process with the highest peak to `file`, and return the process's id.

    ``None`` if no process has written one: it was killed, or did not use PyTorch on a GPU.

    Raises:
        ResultError: `file` cannot be written.
    """
    by_peak = sorted(counters, key=lambda found: -found.peak_reserved_bytes)
    pid = next((found.pid for found in by_peak if (folder / f"{found.pid}.pickle").is_file()), None)
    if pid is not None:
        try:
            shutil.move(folder / f"{pid}.pickle", file)
        except OSError as error:
            raise ResultError(f"--snapshot {file}: cannot be written: {error.strerror}") from error
    return pid
