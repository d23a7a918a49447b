"""The self-test that `memprof doctor` prints: it passes on a phantom, and gives the reason in one line if not."""

from __future__ import annotations

import pytest

from memprof.gpus.catalog import find_gpu
from memprof.gpus.phantom.build import PhantomLibraries
from memprof.gpus.phantom.environment import phantom_environment
from memprof.gpus.phantom.self_test import run_self_test
from memprof.gpus.phantom.torch_install import find_torch


@pytest.mark.parametrize("key", ["t4", "b200"])
def test_it_passes_on_a_phantom_and_cudnn_answers(key: str, phantom_libraries: PhantomLibraries) -> None:
    spec, install = find_gpu(key), find_torch()
    assert install is not None
    assert install.cudnn_version is not None
    found = run_self_test(phantom_environment(phantom_libraries, spec), spec, install)
    assert found.passed
    assert found.detail == "1 GiB allocated, too large a request refused, NVML and cudaMemGetInfo agree"
    version = tuple(map(int, install.cudnn_version.split(".")))
    assert found.cudnn_answers is (key != "b200" or version >= (9, 19))  # before, it is not asked about a B200


def test_without_cudnn_it_passes_and_no_workspace_is_known(phantom_libraries: PhantomLibraries) -> None:
    spec = find_gpu("t4")
    found = run_self_test(phantom_environment(phantom_libraries, spec), spec, None)
    assert (found.passed, found.cudnn_answers) == (True, False)


def test_another_gpu_than_the_one_asked_for_is_found_out(phantom_libraries: PhantomLibraries) -> None:
    asked, played = find_gpu("h100-80gb"), find_gpu("t4")
    found = run_self_test(phantom_environment(phantom_libraries, played), asked, None)
    assert not found.passed
    assert found.detail == f"the GPU has {played.total_bytes} B, not {asked.total_bytes}"


def test_a_description_that_no_gpu_has_is_found_out(phantom_libraries: PhantomLibraries) -> None:
    spec = find_gpu("t4")
    broken = {**phantom_environment(phantom_libraries, spec), "MEMPROF_PHANTOM": "nonsense"}
    found = run_self_test(broken, spec, None)
    assert not found.passed
    assert found.detail == "failed: the CUDA runtime finds no device"


def test_self_test_without_a_phantom_fails_in_one_line() -> None:
    found = run_self_test({}, find_gpu("t4"), None)
    assert not found.passed
    assert found.detail.startswith("failed: AttributeError")
    assert len(found.detail.splitlines()) == 1
