"""NVML's answers about phantoms, as pynvml and the tools that use it read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from memprof.gpus.catalog import find_gpu
from memprof.gpus.phantom.environment import describe_gpu
from memprof.gpus.phantom.torch_install import find_torch
from memprof.units import GIB, MIB

Figures = Callable[..., Mapping[str, Any]]
GPU = find_gpu("l4")
RESERVED = GPU.driver_reserved_bytes or 0
TOTALS = {"total": GPU.total_bytes + RESERVED, "reserved": RESERVED, "adds_up": True}


@pytest.fixture(scope="module")
def nvml(figures: Figures) -> Mapping[str, Any]:
    return figures("nvml.py", MEMPROF_PHANTOM=describe_gpu(GPU, 2))


def test_every_phantom_is_listed_with_its_name_and_place(nvml: Mapping[str, Any]) -> None:
    seen = [(device["name"], device["index"], device["minor"]) for device in nvml["devices"]]
    assert seen == [(GPU.name, 0, 0), (GPU.name, 1, 1)]


def test_every_phantom_has_its_own_uuid_and_bus(nvml: Mapping[str, Any]) -> None:
    assert len({device["uuid"] for device in nvml["devices"]}) == 2
    assert [device["bus"] for device in nvml["devices"]] == ["00000000:01:00.0", "00000000:02:00.0"]


def test_a_phantom_is_found_by_its_uuid_and_by_its_bus(nvml: Mapping[str, Any]) -> None:
    assert [device["by_uuid"] for device in nvml["devices"]] == [0, 1]
    assert [device["by_bus"] for device in nvml["devices"]] == [0, 1]


def test_before_cuda_is_touched_nothing_is_used(nvml: Mapping[str, Any]) -> None:
    empty = {"used": 0, "used_v1": RESERVED, "processes": 0, **TOTALS}
    assert nvml["untouched"] == [empty, empty]


def test_total_is_that_of_nvidia_smi_with_the_drivers_part(nvml: Mapping[str, Any]) -> None:
    assert nvml["untouched"][0]["total"] == 23034 * MIB  # nvidia-smi of an L4; CUDA reports 22,478 MiB
    assert nvml["untouched"][0]["reserved"] == 23034 * MIB - GPU.total_bytes


def test_memory_is_used_on_the_device_that_it_was_taken_from(nvml: Mapping[str, Any]) -> None:
    first, second = nvml["touched"]
    used = GIB + GPU.context_bytes
    assert first["used"] == 0
    assert second == {"used": used, "used_v1": used + RESERVED, "processes": 1, **TOTALS}


def test_the_driver_cannot_be_taken_for_a_real_one(nvml: Mapping[str, Any]) -> None:
    assert nvml["driver"] == "phantom"


def test_the_version_of_cuda_is_that_of_the_runtime(nvml: Mapping[str, Any]) -> None:
    install = find_torch()
    assert install is not None
    assert str(nvml["cuda"]) == install.cudart_version


def test_nothing_runs_so_nothing_is_busy(nvml: Mapping[str, Any]) -> None:
    assert [device["utilization"] for device in nvml["devices"]] == [[0, 0], [0, 0]]
    assert [device["graphics"] for device in nvml["devices"]] == [0, 0]


def test_sensors_are_constants_and_clocks_of_the_catalog(nvml: Mapping[str, Any]) -> None:
    for device in nvml["devices"]:
        assert (device["temperature"], device["power"]) == (30, 50000)
        assert device["clocks"] == device["highest_clocks"] == [2040, 2040, 6251]


@pytest.mark.parametrize("sensor", ["fan", "video clock"])
def test_a_sensor_that_a_phantom_lacks_is_not_supported(sensor: str, nvml: Mapping[str, Any]) -> None:
    assert nvml["errors"][sensor] == "NVMLError_NotSupported"


@pytest.mark.parametrize(
    ("asked", "error"), [("index", "InvalidArgument"), ("uuid", "NotFound"), ("bus", "InvalidArgument")]
)
def test_a_device_that_is_not_there_is_an_error(asked: str, error: str, nvml: Mapping[str, Any]) -> None:
    assert nvml["errors"][asked] == f"NVMLError_{error}"


def test_unsupported_nvml_call_prints_nothing_on_stderr(nvml: Mapping[str, Any]) -> None:
    assert nvml["stderr"] == ""


def test_watch_real_gpus_reads_what_nvml_reports(figures: Figures) -> None:
    """Read through the phantom's NVML, since there is no other."""
    found = figures("real_use.py", MEMPROF_PHANTOM=describe_gpu(GPU, 2))
    used = GIB + GPU.context_bytes
    assert found["seen"] == [
        [GPU.name, GPU.nvml_total_bytes, 0, {}],
        [GPU.name, GPU.nvml_total_bytes, used, {str(found["pid"]): used}],
    ]
