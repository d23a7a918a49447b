"""Older checkpoints for runs to write over, and what is left of them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.paths import WORKLOADS


def write_older(folder: Path, names: Iterable[str]) -> None:
    """Files of those names below `folder`, each with bytes of its own."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"the older {name} ".encode() * 50)


def hashes(folder: Path) -> Mapping[str, str]:
    """The SHA-256 of each file below `folder`; of a link, where it leads."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(folder))] = f"link to {os.readlink(path)}"
        elif path.is_file():
            found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def run_in(folder: Path, *command: str, given: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in `folder`, whose packages are those of this process."""
    changed = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    return subprocess.run(
        command, cwd=folder, env=changed, input=given, capture_output=True, text=True, timeout=300, check=False
    )


def memprof_run(
    folder: Path, *arguments: str, writes: str = "keep", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments on a phantom T4; files of `workloads/` by their name."""
    script = [str(WORKLOADS / arguments[0]), *arguments[1:]] if arguments[0].endswith(".py") else list(arguments)
    memprof = (sys.executable, "-m", "memprof", "run", "--gpu", "t4", "--writes", writes, "--")
    return run_in(folder, *memprof, sys.executable, *script, **environment)
