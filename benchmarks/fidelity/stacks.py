"""The software that the phantom is asked on: this environment, another interpreter, or this one with another cuDNN."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.fidelity.truth import Convolution, Run
from memprof.gpus.catalog import GpuSpec, find_gpu
from memprof.gpus.phantom.environment import describe_gpu

ROOT = Path(__file__).parents[2]
_KEPT_WORKSPACES = {"TORCH_CUBLAS_WORKSPACE_CACHE": "1"}  # from PyTorch 2.15 on they live for one call else
# Built by the interpreter that will run on it, since the phantom is made for one set of libraries.
_ENVIRONMENT = """
import json
from memprof.gpus.phantom.build import build_phantom
from memprof.gpus.catalog import find_gpu
from memprof.gpus.phantom.environment import phantom_environment
print(json.dumps(dict(phantom_environment(build_phantom(), find_gpu("rtx-3060")))))
"""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """An interpreter, and a folder with another `libcudnn.so.9` than its own, if any."""

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
        told = subprocess.run(
            [self.python, "-c", _ENVIRONMENT], env=own, cwd=ROOT, capture_output=True, text=True, check=True
        )
        found = {**own, **json.loads(told.stdout)}
        if self.cudnn_folder is not None:
            found["LD_PRELOAD"] += f":{self.cudnn_folder / 'libcudnn.so.9'}"
            found["LD_LIBRARY_PATH"] = f"{self.cudnn_folder}:{found['LD_LIBRARY_PATH']}"
        return found


class Asked:
    """A stack's process, and the questions to it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def versions(self) -> Mapping[str, str]:
        """Return torch's, torchvision's and cuDNN's."""
        return self._ask(kind="versions")

    def workspace(self, case: Convolution) -> int:
        """Return the workspace of a convolution on its GPU."""
        shapes = {"input_shape": case.input_shape, "weight_shape": case.weight_shape}
        return int(self._ask(find_gpu(case.gpu), kind="workspace", dtype=case.dtype, **shapes)["bytes"])

    def run(self, kind: str, run: Run) -> Mapping[str, Any]:
        """Return what `kind` of tool says of a published run."""
        asked = {"optimizer": run.optimizer, "batch_size": run.batch_size, "classes": run.classes}
        return self._ask(find_gpu(run.gpu), kind=kind, model=run.torchvision_name, **asked)

    def _ask(self, gpu: GpuSpec | None = None, **question: Any) -> Mapping[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        environment = {} if gpu is None else {"MEMPROF_PHANTOM": describe_gpu(gpu)}
        print(json.dumps({**question, "environment": environment}), file=self._process.stdin, flush=True)
        found: Mapping[str, Any] = json.loads(self._process.stdout.readline())
        if "error" in found:
            raise RuntimeError(f"{question}: {found['error']}")
        return found


@contextmanager
def opened(stack: Stack) -> Iterator[Asked]:
    """Start the process of a stack, and end it with the block."""
    process = subprocess.Popen(
        [stack.python, "-m", "benchmarks.fidelity.child"],
        env=stack.environment(),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Asked(process)
    finally:
        process.communicate()  # the end of the questions ends it
