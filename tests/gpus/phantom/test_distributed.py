"""Several GPUs in a process, NCCL with one rank, and one rank of many with PyTorch's backend `fake`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from memprof.gpus.catalog import find_gpu
from memprof.gpus.phantom.build import PhantomLibraries
from memprof.units import GIB
from tests.paths import WORKLOADS

Figures = Callable[..., Mapping[str, Any]]


def memprof_run(gpu: str, workload: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "memprof", "run", "--gpu", gpu, *options, "--"]
    command += [sys.executable, str(WORKLOADS / workload)]
    return subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TORCH_CPP_LOG_LEVEL": "ERROR"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def ranks(figures: Figures) -> Mapping[str, Any]:
    return figures("ranks.py")


@pytest.fixture(scope="module")
def eight(phantom_libraries: PhantomLibraries) -> Mapping[str, Any]:  # noqa: ARG001  skips where there is none
    finished = memprof_run("h100-80gb:8", "eight.py")
    assert finished.returncode == 0, finished.stderr
    found: Mapping[str, Any] = json.loads(finished.stdout)
    return {**found, "stderr": finished.stderr}


def test_collectives_of_one_rank_give_back_what_they_got(ranks: Mapping[str, Any]) -> None:
    assert ranks["collectives"] == {
        "reduced": [3.0, 4.0],
        "gathered": [3.0, 4.0],
        "scattered": [3.0, 4.0],
        "object": [{"a": 1}],
    }
    assert ranks["group"] == 1


@pytest.mark.parametrize("wrapper", ["ddp", "synchronized batch norm", "fsdp2"])
def test_a_parallel_wrapper_trains_with_one_rank(wrapper: str, ranks: Mapping[str, Any]) -> None:
    assert ranks[wrapper]


def test_each_of_eight_gpus_has_its_own_memory(eight: Mapping[str, Any]) -> None:
    assert eight["count"] == 8
    assert eight["taken"] == [(1 + i) * GIB for i in range(8)]
    assert eight["refused"].startswith("CUDA out of memory.")
    assert "GPU 7 has a total capacity" in eight["refused"]
    assert eight["fits"] == 0
    assert eight["streams"] == list(range(8))


def test_data_parallel_trains_on_all_of_them(eight: Mapping[str, Any]) -> None:
    assert eight["gradients"]
    assert eight["parallel"] == [True] * 8
    assert min(eight["used"]) > find_gpu("h100-80gb").context_bytes


def test_memprof_run_prints_the_peak_of_all_gpus(eight: Mapping[str, Any]) -> None:
    lines = eight["stderr"].splitlines()
    named = [
        line
        for line in lines
        if re.match(r"memprof: GPU \d: device memory .* \(emulated\); process \d+: allocated ", line)
    ]
    assert len(named) == 8
    assert any(line.startswith("memprof: fits: ") and " of 8 × " in line for line in lines)


def test_one_of_1024_ranks_runs_within_a_minute_and_4_gib(
    phantom_libraries: PhantomLibraries,  # noqa: ARG001  skips where there is none
) -> None:
    """6.4 billion parameters: 25.8 GB, too much for a GPU with gradients and Adam; this rank has a 1024th of it."""
    start = time.monotonic()
    finished = memprof_run("h100-80gb", "sharded.py")
    seconds = time.monotonic() - start
    assert finished.returncode == 0, finished.stderr
    found = json.loads(finished.stdout)
    assert found["parameters"] == 6_444_154_880
    layer_in_bfloat16 = found["parameters"] // 32 * 2
    assert layer_in_bfloat16 < found["peak"] < 8 * GIB
    assert found["host"] < 4 * GIB
    assert seconds < 60


@pytest.mark.usefixtures("phantom_libraries")
def test_process_groups_that_are_left_over_end_cleanly() -> None:
    finished = memprof_run("h100-80gb", "left_over.py", "--rank", "0", "--world-size", "8")
    assert finished.stdout == "[0, 0, 0, 0, 0, 0]\n"
    assert "watchdog" not in finished.stderr
    assert "uncheckedSetDevice" not in finished.stderr
