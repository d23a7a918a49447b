"""A short proof that the phantom works here: memory is taken, refused and counted, and NVML tells the same story.

Run as a module it is the child, on the phantom; it does without torch, so that it takes a moment only.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from memprof.gpus.catalog import GpuSpec
from memprof.gpus.phantom.torch_install import TorchInstall

_OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation
_TAKEN_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True)
class SelfTest:
    """What the self-test found, in one line, and whether cuDNN tells workspaces for this GPU."""

    passed: bool
    detail: str
    cudnn_answers: bool


def run_self_test(environment: Mapping[str, str], spec: GpuSpec, install: TorchInstall | None) -> SelfTest:
    """Run the self-test on a phantom of `spec` in a child process."""
    cudnn = _cudnn_library(install)
    child = subprocess.run(
        [sys.executable, "-m", __name__, str(spec.total_bytes), cudnn],
        env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if child.returncode != 0:
        reason = (child.stderr.strip().splitlines() or [f"ended with {child.returncode}"])[-1]
        return SelfTest(passed=False, detail=f"failed: {reason}", cudnn_answers=False)
    return SelfTest(**json.loads(child.stdout))


def _cudnn_library(install: TorchInstall | None) -> str:
    folders = install.include_folders if install else ()
    found = (folder.parent / "lib" / "libcudnn.so.9" for folder in folders)
    return next((str(path) for path in found if path.is_file()), "")


def _on_the_phantom(total_bytes: int, cudnn: str) -> SelfTest:
    cuda = ctypes.CDLL(None)  # the preloaded library's names come first
    address, free, total = ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_size_t()
    problems = []
    if cuda.cudaMalloc(ctypes.byref(address), ctypes.c_size_t(_TAKEN_BYTES)) != 0:
        problems.append("1 GiB was refused")
    cuda.cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total))
    if total.value != total_bytes:
        problems.append(f"the GPU has {total.value} B, not {total_bytes}")
    if cuda.cudaMalloc(ctypes.byref(ctypes.c_void_p()), total) != _OUT_OF_MEMORY:
        problems.append("more than the GPU has was granted")
    if _nvml_used_bytes() != total.value - free.value:
        problems.append("NVML and cudaMemGetInfo disagree")
    detail = "; ".join(problems) or "1 GiB taken, too much refused, NVML and cudaMemGetInfo agree"
    return SelfTest(passed=not problems, detail=detail, cudnn_answers=_cudnn_answers(cuda, cudnn))


def _nvml_used_bytes() -> int:
    import pynvml

    pynvml.nvmlInit()
    memory = pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(0), version=pynvml.nvmlMemory_v2)
    return int(memory.used)


def _cudnn_answers(cuda: ctypes.CDLL, cudnn: str) -> bool:
    if not cudnn:
        return False
    ctypes.CDLL(cudnn, mode=ctypes.RTLD_GLOBAL)
    answers = cuda.phantom_cudnn_answers
    answers.restype = ctypes.c_bool
    return bool(answers())


if __name__ == "__main__":
    print(json.dumps(asdict(_on_the_phantom(int(sys.argv[1]), sys.argv[2]))))
