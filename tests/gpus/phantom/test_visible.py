"""CUDA_VISIBLE_DEVICES on phantoms: CUDA shows the GPUs that it names in their order, and NVML all of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from memprof.gpus.catalog import find_gpu
from memprof.gpus.phantom.build import PhantomLibraries
from memprof.gpus.phantom.environment import describe_gpu
from memprof.gpus.phantom.run import RunRequest, run_command
from memprof.gpus.probe import ask_gpu
from memprof.gpus.select import Device
from memprof.units import MIB
from tests.gpus.visible_devices import SHOWN_OF_THREE
from tests.paths import CONFIGS

Figures = Callable[..., Mapping[str, Any]]
SPEC = find_gpu("t4")
UUIDS = [f"GPU-6d656d70-726f-662d-7068-616e746f6d0{index}" for index in range(3)]
VALUES = [value if value is None else value.format(*UUIDS) for value, _ in SHOWN_OF_THREE]
SHOWN = [(value, shown) for value, (_, shown) in zip(VALUES, SHOWN_OF_THREE, strict=True)]
HELD_BYTES = 64 * MIB
INVALID_DEVICE, NO_DEVICE, DRIVER_INVALID_DEVICE = 101, 100, 101


@pytest.fixture(scope="module")
def seen(figures: Figures) -> Mapping[str | None, Mapping[str, Any]]:
    found = figures("visible.py", json.dumps(VALUES), MEMPROF_PHANTOM=describe_gpu(SPEC, 3))
    return dict(zip(VALUES, found["seen"], strict=True))


@pytest.mark.parametrize(("value", "shown"), SHOWN)
def test_visible_devices_are_shown_in_the_order_of_the_list(
    value: str | None, shown: Sequence[int], seen: Mapping[str | None, Mapping[str, Any]]
) -> None:
    assert seen[value]["uuids"] == seen[value]["torch_uuids"] == [UUIDS[index] for index in shown]
    assert seen[value]["buses"] == [f"0000:{index + 1:02x}:00.0" for index in shown]


@pytest.mark.parametrize(("value", "shown"), SHOWN)
def test_visible_devices_count_is_equal_in_cudart_libcuda_torch(
    value: str | None, shown: Sequence[int], seen: Mapping[str | None, Mapping[str, Any]]
) -> None:
    """PyTorch counts with NVML and its own parser of the variable."""
    assert seen[value]["counts"] == [len(shown)] * 3


@pytest.mark.parametrize(("value", "shown"), SHOWN)
def test_visible_devices_charge_the_gpu_that_each_device_is(
    value: str | None, shown: Sequence[int], seen: Mapping[str | None, Mapping[str, Any]]
) -> None:
    first, *others = (SPEC.context_bytes + HELD_BYTES for _ in range(3))
    used = dict(zip(shown, (first + HELD_BYTES, *others), strict=False))  # the first also has the default's allocation
    assert seen[value]["used"] == list(used.values())
    assert seen[value]["nvml_used"] == [used.get(gpu, 0) for gpu in range(3)]


@pytest.mark.parametrize(("value", "shown"), SHOWN)
def test_visible_devices_without_a_device_fail_every_call(
    value: str | None, shown: Sequence[int], seen: Mapping[str | None, Mapping[str, Any]]
) -> None:
    found = seen[value]
    assert found["status"] == (0 if shown else NO_DEVICE)
    assert found["default_device"] == ([0, 0, 0, 0] if shown else [NO_DEVICE, 0, NO_DEVICE, NO_DEVICE])
    assert found["after_the_last"] == [INVALID_DEVICE if shown else NO_DEVICE, DRIVER_INVALID_DEVICE]


@pytest.mark.parametrize("value", VALUES)
def test_visible_devices_leave_nvml_unchanged(value: str | None, seen: Mapping[str | None, Mapping[str, Any]]) -> None:
    assert seen[value]["nvml"] == [3, 3]


@pytest.mark.parametrize(
    ("gpus", "value", "count"),
    [(1, "GPU-6d65", 1), (2, "GPU-6d65", 0), (2, UUIDS[1][:-1], 0), (1, UUIDS[1], 0), (16, "15,0", 2)],
)
def test_visible_devices_uuid_prefix_must_name_one_gpu(gpus: int, value: str, count: int, count_devices: Any) -> None:
    assert count_devices(describe_gpu(SPEC, gpus), CUDA_VISIBLE_DEVICES=value).stdout == f"{count}\n"


def test_memprof_run_charges_the_visible_gpu(
    phantom_libraries: PhantomLibraries, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert phantom_libraries.preload.is_file()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    program = f"import torch; torch.empty({HELD_BYTES}, dtype=torch.uint8, device='cuda')"
    ended = run_command(RunRequest(spec=SPEC, command=[sys.executable, "-c", program], devices=2))
    ledger = ended.ledger
    assert ledger is not None
    assert [(found.gpu, found.peak_allocated_bytes) for found in ended.counters] == [(1, HELD_BYTES)]
    assert ledger.devices == 2
    assert ledger.peak_bytes[:2] == (0, SPEC.context_bytes + HELD_BYTES)


@pytest.mark.parametrize("value", ["", "1", "GPU-0123"])
def test_worker_sees_its_phantom_whatever_the_user_hides(
    value: str, phantom_device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    found = ask_gpu(phantom_device, "memprof.gpus.probe_device")
    assert found["total_bytes"] == phantom_device.total_bytes


@pytest.mark.usefixtures("phantom_libraries")
def test_sweep_on_a_phantom_with_all_gpus_hidden_measures(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "memprof", "sweep", str(CONFIGS / "mnist_mlp.yaml"), "--gpu", "t4", "--json"]
    chosen = ["--batch-size", "64", "--optimizer", "sgd", "--output-dir", str(tmp_path)]
    finished = subprocess.run(
        [*command, *chosen],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    (row,) = json.loads(finished.stdout)["rows"]
    assert (row["status"], row["source"]) == ("ok", "emulated")
