"""GPUs that the installed PyTorch has no code for: they are refused, or fail with PyTorch's own message."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from memprof.errors import DeviceError
from memprof.gpus.catalog import find_gpu, load_catalog
from memprof.gpus.phantom.torch_install import TorchInstall, find_torch
from memprof.gpus.select import choose_device
from memprof.gpus.spec import GpuSpec

Figures = Callable[..., Mapping[str, Any]]
CATALOG = load_catalog()
OLDER = [key for key, spec in CATALOG.items() if spec.capability < (7, 5)]


@pytest.fixture
def install() -> TorchInstall:
    found = find_torch()
    if found is None or found.cuda_version is None:
        pytest.skip("needs a CUDA build of PyTorch")
    return found


@pytest.fixture(scope="module")
def volta(figures: Figures) -> Mapping[str, Any]:
    """What a V100 does under the installed PyTorch."""
    found = figures("architectures.py", gpu="v100-16gb")
    if 70 in found["built_for"]:
        pytest.skip("this PyTorch has code for Volta")
    return found


def runs_on(spec: GpuSpec, built_for: list[int]) -> int:
    """The newest of these architectures whose machine code `spec` runs, or 0."""
    major, minor = spec.capability
    return max((one for one in built_for if one // 10 == major and one % 10 <= minor), default=0)


def test_pascal_and_volta_are_what_cuda_13_dropped() -> None:
    assert OLDER == ["gtx-1080-ti", "p100", "v100-16gb", "v100-32gb"]


@pytest.mark.parametrize("key", ["t4", "a100-40gb", "rtx-4090", "h100-80gb", "gb300", "rtx-5090"])
def test_code_in_torch_libraries_matches_torch_arch_list(key: str, figures: Figures) -> None:
    found = figures("architectures.py", gpu=key)
    assert found["architecture"] == runs_on(CATALOG[key], found["built_for"])
    assert {found[what] for what in ("copy", "kernel", "product", "convolution")} == {"ran"}
    assert not found["warnings"]


def test_gpu_of_later_minor_capability_runs_earlier_code(figures: Figures) -> None:
    later = replace(CATALOG["rtx-3090"], compute_capability="8.8")
    assert figures("architectures.py", gpu=later)["architecture"] == 86


def test_pytorch_warns_of_a_gpu_that_it_has_no_code_for(volta: Mapping[str, Any]) -> None:
    assert any("Tesla V100-SXM2-16GB" in warning and "7.0" in warning for warning in volta["warnings"])


def test_copies_to_and_from_such_a_gpu_work_and_no_kernel_does(volta: Mapping[str, Any]) -> None:
    assert volta["architecture"] == 0
    assert volta["copy"] == "ran"
    assert volta["kernel"] == "CUDA error: no kernel image is available for execution on the device"


def test_neither_cublas_nor_cudnn_of_cuda_13_takes_volta(volta: Mapping[str, Any]) -> None:
    if int(volta["cuda"].split(".")[0]) < 13:
        pytest.skip("CUDA 12's libraries still support Volta")
    assert "CUBLAS_STATUS_ARCH_MISMATCH" in volta["product"]
    assert "ARCH_MISMATCH" in volta["convolution"]


@pytest.mark.parametrize("key", OLDER)
def test_gpu_without_kernels_is_refused_with_a_build_to_install(key: str, install: TorchInstall) -> None:
    if not install.has_dropped(CATALOG[key].capability):
        pytest.skip("this PyTorch has code for it")
    with pytest.raises(DeviceError) as refused:
        choose_device(key)
    message = str(refused.value)
    assert "\n" not in message
    lowest = "7.5" if install.cuda_version and install.cuda_version.startswith("13") else "7.0"
    assert all(part in message for part in (key, CATALOG[key].compute_capability, f" {lowest} ", "CUDA 12.6"))


@pytest.mark.parametrize(
    ("cuda", "dropped"),
    [("12.6", []), ("12.8", ["gtx-1080-ti", "p100"]), ("12.9", ["gtx-1080-ti", "p100"]), ("13.0", OLDER)],
)
def test_cuda_12_8_dropped_pascal_and_cuda_13_volta(cuda: str, dropped: list[str], install: TorchInstall) -> None:
    build = replace(install, cuda_version=cuda)
    assert [key for key, spec in CATALOG.items() if build.has_dropped(spec.capability)] == dropped


@pytest.mark.parametrize("key", ["p100", "v100-16gb", "t4"])
def test_what_is_dropped_is_what_pytorch_was_not_built_for(key: str, install: TorchInstall, figures: Figures) -> None:
    found = figures("architectures.py", gpu=key)
    assert install.has_dropped(CATALOG[key].capability) is (runs_on(CATALOG[key], found["built_for"]) == 0)


def test_cpu_build_of_torch_has_dropped_no_gpu(install: TorchInstall) -> None:
    assert not replace(install, cuda_version=None).has_dropped(find_gpu("p100").capability)
