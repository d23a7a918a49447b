"""A command that the system gives too few files ends in one line, and names what to raise."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from memprof.errors import ExitCode
from memprof.gpus.select import Device
from tests.cli.conftest import without_notes
from tests.paths import CONFIGS, ROOT


@pytest.mark.parametrize("files", [7, 9])
@pytest.mark.parametrize("fork_server", ["off", "start"])
def test_sweep_with_too_few_open_files_is_one_line(
    files: int, fork_server: str, tmp_path: Path, phantom_device_h100: Device
) -> None:
    options = ("--gpu", phantom_device_h100.name, "--output-dir", str(tmp_path / "results"))
    done = subprocess.run(
        [sys.executable, "-m", "memprof", "sweep", str(CONFIGS / "mnist_mlp.yaml"), *options],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)),
        env={**os.environ, "PYTHONPATH": str(ROOT / "profiler"), "MEMPROF_FORK_SERVER": fork_server},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    reason = "no worker process can be started: Too many open files; raise the limit of open files (ulimit -n)"
    assert (done.returncode, without_notes(done.stderr)) == (ExitCode.DEVICE, f"memprof: {reason}\n")
    assert not (tmp_path / "results").exists()
