"""The device of a sweep: the named GPU, a real one first, else a phantom, else only the analytic estimate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from memprof.errors import DeviceError
from memprof.gpus.catalog import DEFAULT_GPU, find_gpu
from memprof.gpus.real import list_real_gpus
from memprof.gpus.select import Device, analytic_device, choose_device
from memprof.records import Source
from tests.paths import ROOT

without_a_real_gpu = pytest.mark.skipif(bool(list_real_gpus()), reason="there is a real GPU here")
CHOICE = """
import json, sys
from memprof.gpus.select import choose_device
device = choose_device(sys.argv[1])
found = [device.source, device.name, device.total_bytes, device.explanation, list(device.environment)]
print(json.dumps([*found, "torch" in sys.modules]))
"""


def choose_in_another_process(gpu: str, **environment: str) -> list[Any]:
    finished = subprocess.run(
        [sys.executable, "-c", CHOICE, gpu],
        env={**os.environ, "PYTHONPATH": str(ROOT / "profiler"), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[Any] = json.loads(finished.stdout)
    return found


@pytest.mark.usefixtures("phantom_device")
def test_a_name_of_the_catalog_is_a_phantom_of_that_gpu() -> None:
    device, spec = choose_device("RTX 4090"), find_gpu("rtx-4090")
    assert (device.source, device.name, device.index) == (Source.EMULATED, "rtx-4090", 0)
    assert device.total_bytes == spec.total_bytes
    assert device.explanation == f"emulating {spec.name} (rtx-4090) on a phantom GPU"
    assert f"name={spec.name};" in device.environment["MEMPROF_PHANTOM"]
    assert Path(device.environment["LD_PRELOAD"].split(":")[0]).is_file()


@without_a_real_gpu
def test_auto_without_a_real_gpu_is_the_default_phantom(phantom_device: Device) -> None:
    device = choose_device("auto")
    assert device.source is Source.EMULATED
    assert device.name == phantom_device.name == DEFAULT_GPU
    assert device.explanation == ("no real GPU found; emulating NVIDIA H100 80GB HBM3 (h100-80gb) on a phantom GPU")


@without_a_real_gpu
def test_auto_without_gpu_and_phantom_is_the_analytic_estimate(tmp_path: Path) -> None:
    impossible = tmp_path / "file"
    impossible.write_text("")
    source, name, total, explanation, environment, _ = choose_in_another_process(
        "auto", MEMPROF_CACHE_DIR=str(impossible)
    )
    assert (source, name, total, environment) == ("analytic", "none", None, [])
    assert explanation.startswith("no real GPU and no phantom, so only the analytic estimate: the phantom GPU ")


def test_choosing_imports_no_torch() -> None:
    assert choose_in_another_process("auto")[-1] is False


def test_analytic_device_has_no_memory_and_no_environment() -> None:
    device = analytic_device("there is none")
    assert (device.source, device.total_bytes, dict(device.environment)) == (Source.ANALYTIC, None, {})


@without_a_real_gpu
@pytest.mark.parametrize("gpu", ["cuda", "cuda:0", "cuda:3"])
def test_a_real_gpu_that_is_not_there_is_refused_in_one_line(gpu: str) -> None:
    with pytest.raises(DeviceError) as refused:
        choose_device(gpu)
    index = gpu.partition(":")[2] or "0"
    assert str(refused.value) == (
        f"there is no real GPU cuda:{index} (none found); choose one that `memprof gpus` lists"
    )


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(DeviceError, match=r"there is no GPU 'h100-80g' in the catalog; did you mean h100-80gb"):
        choose_device("h100-80g")


@pytest.mark.gpu
@pytest.mark.parametrize("gpu", ["auto", "cuda", "cuda:0"])
def test_a_real_gpu_is_taken_first(gpu: str) -> None:
    device, found = choose_device(gpu), list_real_gpus()[0]
    assert (device.source, device.name, device.index) == (Source.MEASURED, found.name, 0)
    assert device.total_bytes == found.total_bytes
    assert device.explanation == f"measuring on {found.name} (cuda:0)"
    assert not device.environment


@pytest.mark.gpu
def test_index_after_the_last_real_gpu_is_refused_with_the_count() -> None:
    count = len(list_real_gpus())
    with pytest.raises(DeviceError, match=rf"no real GPU cuda:{count} \({count} found\)"):
        choose_device(f"cuda:{count}")
