"""`memprof calibrate` and `memprof gpus` as a user calls them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from memprof.gpus.real import list_real_gpus
from memprof.gpus.select import Device

Memprof = Callable[..., "subprocess.CompletedProcess[str]"]
without_gpu = pytest.mark.skipif(bool(list_real_gpus()), reason="there is a real GPU")
CALIBRATED = """
[gpus.l4]
context_bytes = 301989888
sources = ["memprof calibrate, 2026-11-26: measured on NVIDIA L4"]
calibrated = ["context_bytes"]
"""


@without_gpu
def test_calibrate_without_gpu_says_what_it_would_do(memprof: Memprof, tmp_path: Path) -> None:
    done = memprof("calibrate", MEMPROF_CONFIG_DIR=str(tmp_path))
    assert done.returncode == 4
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("memprof: calibrate needs a real GPU, and none was found; it would measure ")
    assert line.endswith(f"and write both to {tmp_path}/gpus.toml")
    assert list(tmp_path.iterdir()) == []


def test_calibrate_under_memprof_run_finds_no_real_gpu(
    memprof: Memprof,
    tmp_path: Path,
    phantom_device_h100: Device,  # noqa: ARG001  skips where no phantom can be had
) -> None:
    command = (sys.executable, "-m", "memprof", "calibrate")
    done = memprof("run", "--gpu", "t4", "--", *command, MEMPROF_CONFIG_DIR=str(tmp_path))
    assert done.returncode == 4
    assert "calibrate needs a real GPU" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_calibrate_of_a_phantom_is_refused(call: Memprof) -> None:
    done = call("calibrate", "--gpu", "t4")
    assert done.returncode == 2
    assert done.stderr == "memprof: --gpu t4: calibrate measures a real GPU, so it must be cuda:N\n"


def test_gpus_marks_assumed_and_calibrated_figures(memprof: Memprof, tmp_path: Path) -> None:
    (tmp_path / "gpus.toml").write_text(CALIBRATED)
    done = memprof("gpus", COLUMNS="120", MEMPROF_CONFIG_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    contexts = {line.split()[0]: " ".join(line.split()[-2:]) for line in done.stdout.splitlines() if "MiB" in line}
    assert contexts["l4"] == "+288.00 MiB"
    assert contexts["rtx-4090"] == "*405.00 MiB"
    assert contexts["rtx-6000-ada"] == "426.00 MiB"
    assert "calibrated: measured on your own GPU by memprof calibrate" in done.stdout


def test_gpus_as_json_has_the_lists(memprof: Memprof, tmp_path: Path) -> None:
    (tmp_path / "gpus.toml").write_text(CALIBRATED)
    done = memprof("gpus", "--json", MEMPROF_CONFIG_DIR=str(tmp_path))
    phantoms = {gpu["key"]: gpu for gpu in json.loads(done.stdout)["phantom"]}
    assert (phantoms["l4"]["calibrated"], phantoms["l4"]["assumed"]) == (["context_bytes"], [])
    assert phantoms["rtx-4090"]["assumed"] == ["context_bytes"]
    assert phantoms["rtx-4090"]["runnable"]


def test_gpus_with_a_wrong_own_catalog_names_the_key(memprof: Memprof, tmp_path: Path) -> None:
    (tmp_path / "gpus.toml").write_text("[gpus.t4]\nclock = 1\n")
    done = memprof("gpus", MEMPROF_CONFIG_DIR=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr == (
        f"memprof: {tmp_path}/gpus.toml: [gpus.t4] has the unknown key 'clock'; did you mean clock_khz?\n"
    )


@pytest.mark.gpu
def test_calibrate_with_gpu_writes_its_file(memprof: Memprof, tmp_path: Path) -> None:
    done = memprof("calibrate", "--json", MEMPROF_CONFIG_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["source"] == "measured"
    phantoms = json.loads(memprof("gpus", "--json", MEMPROF_CONFIG_DIR=str(tmp_path)).stdout)["phantom"]
    found = next(gpu for gpu in phantoms if gpu["key"] == printed["gpu"])
    assert found["context_bytes"] == printed["figures"]["context_bytes"]
    assert "context_bytes" in found["calibrated"]
