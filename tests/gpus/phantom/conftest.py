"""Running the files of `workloads/` on phantoms, and small programs that call the CUDA runtime without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, Protocol

import pytest

from memprof.errors import DeviceError
from memprof.gpus.catalog import find_gpu
from memprof.gpus.phantom.build import PhantomLibraries, build_phantom
from memprof.gpus.phantom.environment import phantom_environment
from memprof.gpus.spec import GpuSpec
from tests.paths import WORKLOADS


class Start(Protocol):
    """Runs a Python file of `workloads/` on a phantom and returns the finished process."""

    def __call__(
        self, workload: str, *arguments: str, gpu: str | GpuSpec = ..., **environment: str
    ) -> subprocess.CompletedProcess[str]: ...


class Figures(Protocol):
    """Runs a Python file of `workloads/` on a phantom and returns the JSON object that it prints last."""

    def __call__(
        self, workload: str, *arguments: str, gpu: str | GpuSpec = ..., **environment: str
    ) -> Mapping[str, Any]: ...


class CountDevices(Protocol):
    """Runs a process whose MEMPROF_PHANTOM is the given text, and which prints how many devices it sees."""

    def __call__(self, description: str, **environment: str) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture(scope="session")
def phantom_libraries() -> PhantomLibraries:
    """The built phantom; tests that need it are skipped, with the reason, if none can be built."""
    try:
        return build_phantom()
    except DeviceError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def start(phantom_libraries: PhantomLibraries) -> Start:
    def run(
        workload: str, *arguments: str, gpu: str | GpuSpec = "h100-80gb", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        spec = find_gpu(gpu) if isinstance(gpu, str) else gpu
        added = {**phantom_environment(phantom_libraries, spec), "PYTHONPATH": os.pathsep.join(sys.path)}
        return subprocess.run(
            [sys.executable, str(WORKLOADS / workload), *arguments],
            env={**os.environ, **added, **environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def figures(start: Start) -> Figures:
    def run(workload: str, *arguments: str, gpu: str | GpuSpec = "h100-80gb", **environment: str) -> Mapping[str, Any]:
        finished = start(workload, *arguments, gpu=gpu, **environment)
        assert finished.returncode == 0, finished.stderr
        found: Mapping[str, Any] = json.loads(finished.stdout.splitlines()[-1])
        return {**found, "stderr": finished.stderr}

    return run


@pytest.fixture(scope="session")
def count_devices(start: Start) -> CountDevices:
    """Counts the devices that a process sees whose GPU is described by the given text."""

    def count(description: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return start("count.py", MEMPROF_PHANTOM=description, **environment)

    return count
