"""The software stacks under test: this environment, another interpreter, or this one with another cuDNN."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.fidelity.truth import Convolution, Run
from memprof.gpus.catalog import find_gpu
from memprof.gpus.phantom.environment import describe_gpu
from memprof.gpus.spec import GpuSpec

ROOT = Path(__file__).parents[2]
_KEPT_WORKSPACES = {"TORCH_CUBLAS_WORKSPACE_CACHE": "1"}  # otherwise they live for one call from PyTorch 2.15 on
# The interpreter under test builds the phantom, which is made for one set of libraries.
_ENVIRONMENT = """
import json
from memprof.gpus.phantom.build import build_phantom
from memprof.gpus.catalog import find_gpu
from memprof.gpus.phantom.environment import phantom_environment
print(json.dumps(dict(phantom_environment(build_phantom(), find_gpu("rtx-3060")))))
"""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """An interpreter, and optionally a folder with another `libcudnn.so.9` than its own."""

    python: str = sys.executable
    cudnn_folder: Path | None = None

    def environment(self) -> dict[str, str]:
        """Return the environment of a process on a phantom of this stack."""
        own = {
            **os.environ,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT}/profiler",
            "TORCH_CPP_LOG_LEVEL": "ERROR",
            **_KEPT_WORKSPACES,
        }
        done = subprocess.run(
            [self.python, "-c", _ENVIRONMENT], env=own, cwd=ROOT, capture_output=True, text=True, check=True
        )
        found = {**own, **json.loads(done.stdout)}
        if self.cudnn_folder is not None:
            found["LD_PRELOAD"] += f":{self.cudnn_folder / 'libcudnn.so.9'}"
            found["LD_LIBRARY_PATH"] = f"{self.cudnn_folder}:{found['LD_LIBRARY_PATH']}"
        return found


class StackProcess:
    """The process of a stack, which runs tasks."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def versions(self) -> Mapping[str, str]:
        """Return the versions of torch, torchvision and cuDNN."""
        return self._run(kind="versions")

    def workspace(self, case: Convolution) -> int:
        """Return the workspace of a convolution on its GPU, in bytes."""
        shapes = {"input_shape": case.input_shape, "weight_shape": case.weight_shape}
        return int(self._run(find_gpu(case.gpu), kind="workspace", dtype=case.dtype, **shapes)["bytes"])

    def run(self, kind: str, run: Run, **more: Any) -> Mapping[str, Any]:
        """Return the figures of a published run from a `kind` of tool."""
        settings = {"optimizer": run.optimizer, "batch_size": run.batch_size, "classes": run.classes, **more}
        return self._run(find_gpu(run.gpu), kind=kind, model=run.torchvision_name, **settings)

    def limited(self, run: Run, fractions: Sequence[float]) -> Sequence[int | None]:
        """Return the reserved bytes of runs one after another, each with a limit; ``None`` if memory ran out."""
        peaks: Sequence[int | None] = self.run("limited", run, fractions=fractions)["reserved"]
        return peaks

    def _run(self, gpu: GpuSpec | None = None, **task: Any) -> Mapping[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        environment = {} if gpu is None else {"MEMPROF_PHANTOM": describe_gpu(gpu)}
        print(json.dumps({**task, "environment": environment}), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{task}: the process ended with exit status {self._process.wait()}")
        found: Mapping[str, Any] = json.loads(line)
        if "error" in found:
            raise RuntimeError(f"{task}: {found['error']}")
        return found


@contextmanager
def open_process(stack: Stack) -> Iterator[StackProcess]:
    """Start the process of a stack, and stop it at the end of the block."""
    process = subprocess.Popen(
        [stack.python, "-m", "benchmarks.fidelity.child"],
        env=stack.environment(),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield StackProcess(process)
    finally:
        process.communicate()  # the end of its input stops it
