"""The real GPUs of this machine: those that CUDA_VISIBLE_DEVICES leaves, and none without a driver."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence

import pytest

from memprof.gpus.real import RealGpu, list_real_gpus, visible_gpus
from tests.gpus.visible_devices import SHOWN_OF_THREE

Script = Callable[..., "subprocess.CompletedProcess[str]"]


def gpu(name: str, uuid: str) -> RealGpu:
    return RealGpu(
        name=name,
        uuid=uuid,
        total_bytes=1 << 30,
        used_bytes=0,
        compute_capability="8.0",
        driver_version="580.00",
    )


THREE = (gpu("first", "GPU-aaaa-1111"), gpu("second", "GPU-bbbb-2222"), gpu("third", "GPU-cccc-3333"))


UUIDS = [gpu.uuid for gpu in THREE]


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        *((value if value is None else value.format(*UUIDS), shown) for value, shown in SHOWN_OF_THREE),
        ("GPU-bbbb", [1]),
        ("GPU-cccc-3333,GPU-a", [2, 0]),
    ],
)
def test_visible_gpus_are_those_of_the_list_in_its_order(names: str | None, shown: Sequence[int]) -> None:
    assert visible_gpus(THREE, names) == tuple(THREE[index] for index in shown)


def test_a_phantom_is_not_a_real_gpu(run_on_phantom: Script) -> None:
    finished = run_on_phantom("from memprof.gpus.real import list_real_gpus; print(list_real_gpus())")
    assert finished.stdout == "()\n", finished.stderr


def test_looking_for_gpus_imports_no_torch(run_on_phantom: Script) -> None:
    looking = "import sys; from memprof.gpus.real import list_real_gpus; list_real_gpus(); "
    finished = run_on_phantom(looking + "print('torch' in sys.modules)")
    assert finished.stdout == "False\n", finished.stderr


@pytest.mark.gpu
def test_the_real_gpus_have_names_and_memory() -> None:
    gpus = list_real_gpus()
    assert gpus
    assert all(gpu.name and gpu.total_bytes > gpu.used_bytes >= 0 and gpu.driver_version for gpu in gpus)


@pytest.mark.gpu
def test_hiding_all_gpus_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert list_real_gpus() == ()
