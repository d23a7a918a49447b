"""torch.compile on a phantom: Inductor's kernels are compiled for its architecture, loaded, launched and never run."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from memprof.gpus.catalog import find_gpu

Figures = Callable[..., Mapping[str, Any]]
CASES = {"default": "h100-80gb", "reduce-overhead": "rtx-4060"}

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="torch came without Triton")


@pytest.fixture(scope="module")
def timed(figures: Figures) -> Mapping[str, Any]:
    return figures("timed.py")


@pytest.fixture(scope="module")
def compiled(figures: Figures, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Mapping[str, Any]]:
    def run(mode: str) -> Mapping[str, Any]:
        caches = tmp_path_factory.mktemp(mode)
        folders = {name: str(Path(caches, name)) for name in ("TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR")}
        return figures("compiled.py", mode, gpu=CASES[mode], **folders)

    return {mode: run(mode) for mode in CASES}


@pytest.mark.parametrize("mode", CASES)
def test_forward_and_backward_are_compiled_as_a_whole(mode: str, compiled: Mapping[str, Mapping[str, Any]]) -> None:
    found = compiled[mode]
    assert found["kernels"] > 0
    assert found["binaries"] > 0
    assert found["graph_breaks"] == 0
    assert found["gradients"]


@pytest.mark.parametrize(("mode", "target"), [("default", "sm_90a"), ("reduce-overhead", "sm_89")])
def test_triton_compiles_for_the_architecture_of_the_gpu(
    mode: str, target: str, compiled: Mapping[str, Mapping[str, Any]]
) -> None:
    assert compiled[mode]["targets"] == [target]


@pytest.mark.parametrize("mode", CASES)
def test_what_triton_asks_the_driver_is_in_the_catalog(mode: str, compiled: Mapping[str, Mapping[str, Any]]) -> None:
    gpu = find_gpu(CASES[mode])
    expected = {
        "max_shared_mem": gpu.shared_memory_per_block_optin_bytes,
        "max_num_regs": gpu.registers_per_block,
        "multiprocessor_count": gpu.multiprocessors,
        "warpSize": 32,
        "sm_clock_rate": gpu.clock_khz,
        "mem_clock_rate": gpu.memory_clock_khz,
        "mem_bus_width": gpu.memory_bus_bits,
    }
    assert {name: compiled[mode]["properties"][name] for name in expected} == expected


@pytest.mark.parametrize("mode", CASES)
def test_steps_after_the_first_few_take_the_same_memory(mode: str, compiled: Mapping[str, Mapping[str, Any]]) -> None:
    *_, before, last = compiled[mode]["allocated"]
    assert before == last > 0


def test_reduce_overhead_captures_graphs_in_private_pools(compiled: Mapping[str, Mapping[str, Any]]) -> None:
    assert compiled["reduce-overhead"]["skipped_graphs"] == 0
    assert compiled["reduce-overhead"]["private_pools"] > 0
    assert compiled["default"]["private_pools"] == 0


@pytest.mark.parametrize("name", ["do_bench", "inductor"])
def test_a_benchmark_of_a_kernel_ends_after_a_few_runs(name: str, timed: Mapping[str, Any]) -> None:
    assert 5 < timed[name] < 200
