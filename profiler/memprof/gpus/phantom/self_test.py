"""A self-test of the phantom: memory is allocated, refused and counted, and NVML agrees with the CUDA runtime.

Run as a module it is the child, on the phantom. It does not import torch, so it takes only a moment.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from memprof.gpus.nvml import every_gpu
from memprof.gpus.phantom.loaded import loaded_libraries
from memprof.gpus.phantom.torch_install import TorchInstall
from memprof.gpus.python_path import child_python_path
from memprof.gpus.spec import GpuSpec

_OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation
_ALLOCATED_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True)
class SelfTest:
    """The result of the self-test, in one line, and whether cuDNN reports workspaces for this GPU.

    `loaded` are the libraries of a phantom or a driver in the process that was tested.
    """

    passed: bool
    detail: str
    cudnn_answers: bool
    loaded: tuple[str, ...] = ()


def run_self_test(environment: Mapping[str, str], spec: GpuSpec, install: TorchInstall | None) -> SelfTest:
    """Run the self-test on a phantom of `spec` in a child process."""
    cudnn = _cudnn_library(install)
    child = subprocess.run(
        [sys.executable, "-P", "-m", __name__, str(spec.total_bytes), cudnn],
        env={**os.environ, **environment, "PYTHONPATH": child_python_path()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if child.returncode != 0:
        reason = (child.stderr.strip().splitlines() or [f"exit status {child.returncode}"])[-1]
        return SelfTest(passed=False, detail=f"failed: {reason}", cudnn_answers=False)
    answer = json.loads(child.stdout)
    return SelfTest(**{**answer, "loaded": tuple(answer["loaded"])})


def _cudnn_library(install: TorchInstall | None) -> str:
    folders = install.include_folders if install else ()
    found = (folder.parent / "lib" / "libcudnn.so.9" for folder in folders)
    return next((str(path) for path in found if path.is_file()), "")


def _on_the_phantom(total_bytes: int, cudnn: str) -> SelfTest:
    cuda = ctypes.CDLL(None)  # the preloaded library's names come first
    count = ctypes.c_int()
    cuda.cudaGetDeviceCount(ctypes.byref(count))
    if not count.value:
        return SelfTest(passed=False, detail="failed: the CUDA runtime finds no device", cudnn_answers=False)
    problems = _problems(cuda, total_bytes)
    detail = "; ".join(problems) or "1 GiB allocated, too large a request refused, NVML and cudaMemGetInfo agree"
    ctypes.CDLL("libcuda.so.1")  # as Triton loads it
    answers = _cudnn_answers(cuda, cudnn)
    return SelfTest(passed=not problems, detail=detail, cudnn_answers=answers, loaded=loaded_libraries())


def _problems(cuda: ctypes.CDLL, total_bytes: int) -> list[str]:
    address, free, total = ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_size_t()
    problems = []
    if cuda.cudaMalloc(ctypes.byref(address), ctypes.c_size_t(_ALLOCATED_BYTES)) != 0:
        problems.append("1 GiB was refused")
    cuda.cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total))
    if total.value != total_bytes:
        problems.append(f"the GPU has {total.value} B, not {total_bytes}")
    if cuda.cudaMalloc(ctypes.byref(ctypes.c_void_p()), total) != _OUT_OF_MEMORY:
        problems.append("more than the GPU's memory was allocated")
    if _nvml_used_bytes() != total.value - free.value:
        problems.append("NVML and cudaMemGetInfo disagree")
    return problems


def _nvml_used_bytes() -> int | None:
    with every_gpu() as gpus:
        return gpus[0].used_bytes() if gpus else None


def _cudnn_answers(cuda: ctypes.CDLL, cudnn: str) -> bool:
    if not cudnn:
        return False
    ctypes.CDLL(cudnn, mode=ctypes.RTLD_GLOBAL)
    answers = cuda.phantom_cudnn_answers
    answers.restype = ctypes.c_bool
    return bool(answers())


if __name__ == "__main__":
    print(json.dumps(asdict(_on_the_phantom(int(sys.argv[1]), sys.argv[2]))))  # noqa: T201  the answer to the parent
