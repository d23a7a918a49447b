"""`memprof doctor` shows which code a phantom has loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from memprof.errors import ExitCode
from memprof.gpus.phantom.build import build_phantom
from memprof.gpus.real import list_real_gpus
from tests.cli.conftest import Memprof


@pytest.mark.usefixtures("phantom_device_h100")
def test_doctor_has_compared_the_loaded_libraries(memprof: Memprof) -> None:
    done = memprof("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.returncode == ExitCode.OK
    assert checks["loaded code"]["state"] == "ok"
    assert checks["loaded code"]["detail"] == "5 libraries, each with the SHA-256 of its build"


@pytest.mark.usefixtures("phantom_device_h100")
@pytest.mark.skipif(bool(list_real_gpus()), reason="with a real GPU the status is 0")
def test_doctor_names_a_library_that_memprof_did_not_build(memprof: Memprof, tmp_path: Path) -> None:
    foreign = tmp_path / "libnvidia-ml.so.1"
    shutil.copy(build_phantom().files, foreign)  # any library that needs no other
    done = memprof("doctor", COLUMNS="400", LD_PRELOAD=str(foreign))
    assert done.returncode == ExitCode.DEVICE
    assert f"{foreign} is loaded, and memprof has not built it" in done.stdout
    assert "check LD_PRELOAD and LD_LIBRARY_PATH" in done.stdout
