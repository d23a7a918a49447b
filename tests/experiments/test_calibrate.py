"""Calibration of the catalog: what is measured, where it is written, and that emulated figures stay emulated."""

from __future__ import annotations

import json
import subprocess
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memprof.errors import ConfigError, DeviceError, ResultError
from memprof.experiments import calibrate as calibration
from memprof.experiments.calibrate import PARTS, Calibration, catalog_name, measure_calibration, save_calibration
from memprof.gpus.catalog import find_gpu, load_catalog, own_catalog
from memprof.gpus.probe import ask_gpu
from memprof.gpus.real import RealGpu, list_real_gpus
from memprof.gpus.select import Device, choose_device, phantom_device
from memprof.gpus.spec import GpuSpec
from memprof.records import Source
from memprof.units import GIB, MIB

Script = Callable[..., "subprocess.CompletedProcess[str]"]
TAKEN = dict(zip(PARTS, (301 * MIB, 4 * MIB, 22 * MIB, 74 * MIB), strict=True))
GPU = replace(find_gpu("l4"), **TAKEN)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def gpu(phantom_device_h100: Device) -> Device:  # noqa: ARG001  skips if no phantom can be built
    """A phantom L4 whose context and libraries have sizes that no catalog has."""
    return phantom_device(GPU)


@pytest.fixture(scope="module")
def emulated(gpu: Device) -> Calibration:
    return measure_calibration(gpu)


@pytest.fixture
def measured(emulated: Calibration) -> Calibration:
    """The same figures with the source of a real GPU."""
    return replace(emulated, source=Source.MEASURED, driver_version="580.65.06", date="2026-11-26")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEMPROF_CONFIG_DIR", str(tmp_path / "config"))
    return own_catalog()


def with_figures(found: Calibration, **figures: Any) -> Calibration:
    return replace(found, figures={**found.figures, **figures})


def test_calibration_measures_each_part_to_the_byte(emulated: Calibration) -> None:
    assert {name: emulated.figures[name] for name in PARTS} == TAKEN
    assert emulated.total_bytes == sum(TAKEN.values())
    assert emulated.of_process


def test_calibration_reads_the_whole_gpu(emulated: Calibration) -> None:
    assert all(getattr(GPU, name) == value for name, value in emulated.figures.items())


def test_save_of_emulated_figures_is_refused(emulated: Calibration, own: Path) -> None:
    assert emulated.source is Source.EMULATED
    with pytest.raises(DeviceError, match="these figures are emulated"):
        save_calibration(emulated, own)
    assert not own.exists()


def test_save_of_emulated_figures_marks_them_as_assumed(emulated: Calibration, own: Path) -> None:
    assert save_calibration(emulated, own, emulated_too=True) == "l4"
    spec = find_gpu("l4")
    assert ": emulated on NVIDIA L4, driver phantom" in spec.sources[0]
    assert not spec.calibrated
    assert set(PARTS) <= set(spec.assumed)


def test_save_replaces_the_figures_of_the_catalog(measured: Calibration, own: Path) -> None:
    catalog = load_catalog()
    before = catalog["l4"]
    assert save_calibration(measured, own) == "l4"
    spec = find_gpu("NVIDIA L4")
    assert {name: getattr(spec, name) for name in PARTS} == TAKEN
    assert set(PARTS) <= set(spec.calibrated)
    assert spec.assumed == ()
    assert spec.sources[0] == (
        f"memprof calibrate, 2026-11-26: measured on NVIDIA L4, driver 580.65.06, torch {measured.torch_version}"
    )
    assert spec.sources[1:] == before.sources
    assert spec.nvml_total_bytes == before.nvml_total_bytes
    assert {key: one for key, one in load_catalog().items() if key != "l4"} == {
        key: one for key, one in catalog.items() if key != "l4"
    }


def test_phantom_of_a_calibrated_gpu_has_its_figures(measured: Calibration, own: Path) -> None:
    save_calibration(measured, own)
    again = measure_calibration(phantom_device(find_gpu("l4")))
    assert {name: again.figures[name] for name in PARTS} == TAKEN


def test_second_save_keeps_what_the_user_wrote(measured: Calibration, own: Path) -> None:
    own.parent.mkdir()
    own.write_text('# mine\n[gpus.l4]\nsources = ["my data sheet"] # kept\n\n[gpus.t4]\nclock_khz = 1000000 # slow\n')
    for context in (5 * MIB, 6 * MIB):
        save_calibration(with_figures(measured, context_bytes=context), own)
    text = own.read_text()
    assert all(kept in text for kept in ("# mine", "clock_khz = 1000000 # slow"))
    entry = tomllib.loads(text)["gpus"]["l4"]
    assert entry["context_bytes"] == 6 * MIB
    assert len(entry["sources"]) == 2
    assert entry["sources"][1] == "my data sheet"


def test_save_of_an_unknown_gpu_adds_an_entry(measured: Calibration, own: Path) -> None:
    new = with_figures(measured, name="NVIDIA Graphics Device", compute_capability="8.7", multiprocessors=14)
    assert save_calibration(new, own) == "graphics-device"
    spec = find_gpu("graphics-device")
    assert (spec.capability, spec.multiprocessors, spec.context_bytes) == ((8, 7), 14, TAKEN["context_bytes"])
    assert spec.max_threads_per_multiprocessor == GPU.max_threads_per_multiprocessor


@pytest.mark.parametrize(
    ("figures", "name"),
    [
        ({}, "l4"),
        ({"total_bytes": GPU.total_bytes - 300 * MIB}, "l4"),  # another driver's
        ({"total_bytes": GPU.total_bytes // 2}, "l4-11gb"),
        ({"name": "NVIDIA GeForce RTX 3080", "total_bytes": 12 * GIB, "compute_capability": "8.6"}, "rtx-3080-12gb"),
        ({"name": "Tesla M60"}, "m60"),
        ({"name": "NVIDIA A100-SXM4-40GB MIG 1g.5gb", "compute_capability": "8.0"}, "a100-sxm4-40gb-mig-1g-5gb"),
    ],
)
def test_catalog_name_depends_on_name_cores_and_memory(
    figures: Mapping[str, Any], name: str, measured: Calibration
) -> None:
    assert catalog_name({**measured.figures, **figures}, load_catalog()) == name


def test_total_of_nvml_is_that_of_the_same_gpu(gpu: Device) -> None:
    real = RealGpu(
        name=GPU.name, uuid="GPU-1", total_bytes=23 * GIB, used_bytes=0, compute_capability="8.9", driver_version="1"
    )
    assert measure_calibration(gpu, real).figures["nvml_total_bytes"] == 23 * GIB
    assert "nvml_total_bytes" not in measure_calibration(gpu, replace(real, name="NVIDIA T4")).figures


def test_two_different_measurements_are_refused(gpu: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    heavier = iter((gpu, phantom_device(replace(GPU, cublas_bytes=90 * MIB))))
    monkeypatch.setattr(calibration, "ask_gpu", lambda _, module: ask_gpu(next(heavier), module))
    with pytest.raises(DeviceError, match=r"two measurements of cublas_bytes gave 22\.00 MiB and 90\.00 MiB"):
        measure_calibration(gpu)


def test_gpu_that_cannot_be_read_is_an_error_of_one_line(gpu: Device) -> None:
    with pytest.raises(DeviceError, match=r"^l4 cannot be read: .+") as refused:
        measure_calibration(replace(gpu, index=7))
    assert "\n" not in str(refused.value)


def test_save_leaves_an_invalid_catalog_as_it_is(measured: Calibration, own: Path) -> None:
    own.parent.mkdir()
    own.write_text("[gpus.t4]\nclock = 1\n")
    with pytest.raises(ConfigError, match="unknown key 'clock'"):
        save_calibration(measured, own)
    assert own.read_text() == "[gpus.t4]\nclock = 1\n"


def test_save_to_an_unwritable_file_names_its_path(measured: Calibration, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(ResultError, match=r"taken/gpus\.toml: cannot be written: "):
        save_calibration(measured, tmp_path / "taken" / "gpus.toml")


def test_context_without_nvml_processes_is_the_increase(run_on_phantom: Script) -> None:
    done = run_on_phantom(
        "import json\n"
        "from memprof.gpus.nvml import NvmlGpu\n"
        "from memprof.gpus.probe_context import measure_context\n"
        "NvmlGpu.own_bytes = lambda self: None\n"
        "print(json.dumps(measure_context(0)))\n"
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert not found["of_process"]
    assert found["figures"]["context_bytes"] == find_gpu("h100-80gb").context_bytes


@pytest.mark.gpu
def test_phantom_of_the_real_gpu_has_its_figures(own: Path) -> None:
    real = list_real_gpus()[0]
    found = measure_calibration(choose_device("cuda:0"), real)
    key = save_calibration(found, own)
    spec: GpuSpec = find_gpu(key)
    again = measure_calibration(phantom_device(spec))
    assert {name: again.figures[name] for name in PARTS} == {name: found.figures[name] for name in PARTS}
