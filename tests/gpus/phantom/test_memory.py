"""A GPU's memory under PyTorch's own allocators: its limit, its cache, and counters that agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from memprof.gpus.catalog import find_gpu
from memprof.units import GIB, MIB, format_bytes

Figures = Callable[..., Mapping[str, Any]]
GPU = find_gpu("rtx-4060")
MOMENTS = ("empty", "taken", "refused", "cached", "emptied")
PLAIN, EXPANDABLE = "", "expandable_segments:True"


@pytest.fixture(scope="module")
def lives(figures: Figures) -> Mapping[str, Mapping[str, Any]]:
    return {
        allocator: figures("memory.py", gpu="rtx-4060", PYTORCH_CUDA_ALLOC_CONF=allocator)
        for allocator in (PLAIN, EXPANDABLE)
    }


@pytest.fixture(params=[PLAIN, EXPANDABLE], ids=["plain", "expandable segments"])
def life(request: pytest.FixtureRequest, lives: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    return lives[request.param]


@pytest.fixture(scope="module")
def runtime(figures: Figures) -> Mapping[str, Any]:
    memory: Mapping[str, Any] = figures("runtime.py")["memory"]
    return memory


def test_torch_sees_the_gpu_of_the_catalog(life: Mapping[str, Any]) -> None:
    seen = life["properties"]
    assert seen["name"] == GPU.name
    assert seen["capability"] == list(GPU.capability)
    assert seen["total"] == GPU.total_bytes
    assert seen["multiprocessors"] == GPU.multiprocessors
    assert seen["l2"] == GPU.l2_cache_bytes
    assert seen["threads"] == GPU.max_threads_per_multiprocessor


def test_cuda_and_nvml_report_the_same_uuid(life: Mapping[str, Any]) -> None:
    assert f"GPU-{life['properties']['uuid']}" == life["properties"]["nvml_uuid"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_every_memory_counter_agrees(moment: str, life: Mapping[str, Any]) -> None:
    seen = life["moments"][moment]
    used = seen["reserved"] + GPU.context_bytes
    assert seen["total"] == seen["nvml_total"] == GPU.total_bytes
    assert seen["total"] - seen["free"] == used
    assert seen["nvml_used"] == seen["nvml_v1_used"] == seen["torch_used"] == seen["process"] == used
    assert seen["nvml_free"] == seen["free"]


def test_allocator_reserves_whole_segments(
    lives: Mapping[str, Mapping[str, Any]],
) -> None:
    reserved = [lives[PLAIN]["moments"][moment]["reserved"] for moment in MOMENTS]
    assert reserved == [0, GIB, GIB, 3 * GIB, 0]


def test_expandable_segments_grow_in_steps_of_20_mib(lives: Mapping[str, Mapping[str, Any]]) -> None:
    reserved = [lives[EXPANDABLE]["moments"][moment]["reserved"] for moment in ("empty", "taken", "emptied")]
    assert reserved == [0, -(-GIB // (20 * MIB)) * 20 * MIB, 0]


@pytest.mark.parametrize(("name", "asked"), [("refused", "200.00 GiB"), ("nearly", "7.00 GiB")])
def test_what_does_not_fit_is_refused_in_pytorchs_own_words(name: str, asked: str, life: Mapping[str, Any]) -> None:
    taken = life["moments"]["taken"]
    assert life[name].startswith(
        f"CUDA out of memory. Tried to allocate {asked}. GPU 0 has a total capacity of 7.75 GiB of which "
        f"{format_bytes(taken['free'])} is free. Including non-PyTorch memory, this process has "
        f"{format_bytes(taken['nvml_used'])} memory in use."
    )


def test_after_a_refusal_the_next_allocation_goes_through(life: Mapping[str, Any]) -> None:
    assert life["next"] == 2 * GIB


def test_cached_blocks_are_freed_and_the_allocation_retried(
    lives: Mapping[str, Mapping[str, Any]],
) -> None:
    assert lives[PLAIN]["retry"] == {
        "reserved": [4 * GIB, 5 * GIB],
        "retries": 1,
        "ooms": 0,
        "bytes": 5 * GIB,
    }


def test_an_expandable_segment_grows_instead_of_being_freed(lives: Mapping[str, Mapping[str, Any]]) -> None:
    retry = lives[EXPANDABLE]["retry"]
    assert (retry["retries"], retry["ooms"], retry["bytes"]) == (0, 0, 5 * GIB)


def test_memory_fraction_is_the_limit_until_it_is_raised(life: Mapping[str, Any]) -> None:
    assert life["fraction"].startswith("CUDA out of memory. Tried to allocate 3.00 GiB.")
    assert f"{format_bytes(GPU.total_bytes // 4)} allowed" in life["fraction"]
    assert life["after_fraction"] == "granted"


def test_driver_allocates_whole_and_aligned_pages_of_2_mib(runtime: Mapping[str, Any]) -> None:
    assert runtime["taken"] == 8 * MIB  # for 1 B, 3 MiB and 2 MiB
    assert runtime["steps"] == [2 * MIB, 4 * MIB]
    assert runtime["aligned"] == [0, 0, 0]


def test_freed_gap_is_reused_only_if_it_is_large_enough(runtime: Mapping[str, Any]) -> None:
    assert runtime["reused"]
    assert runtime["beyond"]


def test_freeing_twice_or_in_the_middle_is_an_invalid_value(runtime: Mapping[str, Any]) -> None:
    assert runtime["freed"] == 0
    assert runtime["freed_twice"] == [0, 1]
    assert runtime["inside"] == 1


def test_a_refused_allocation_takes_nothing(runtime: Mapping[str, Any]) -> None:
    assert runtime["too_much"] == 2  # cudaErrorMemoryAllocation
    assert runtime["free_after_refusal"]


def test_context_grows_by_measured_kernels_of_each_library(figures: Figures) -> None:
    parts = (3 * MIB, 20 * MIB, 70 * MIB)
    gpu = replace(GPU, kernels_bytes=parts[0], cublas_bytes=parts[1], cudnn_bytes=parts[2])
    grown = [GPU.context_bytes + sum(parts[:count]) for count in (0, 1, 2, 3, 3)]
    assert figures("loaded.py", gpu=gpu)["seen"] == grown
    assert figures("loaded.py", gpu=GPU)["seen"] == [GPU.context_bytes] * 5


def test_a_library_that_finds_no_memory_for_its_kernels_fails(start: Callable[..., Any]) -> None:
    gpu = replace(GPU, total_bytes=GPU.context_bytes + 30 * MIB, cublas_bytes=70 * MIB)
    ended = start("loaded.py", gpu=gpu)
    assert ended.returncode == 1
    assert "CUBLAS_STATUS_ALLOC_FAILED" in ended.stderr


@pytest.fixture(scope="module")
def managed(figures: Figures) -> Mapping[str, Any]:
    return figures("managed.py")


def test_managed_pages_move_to_the_gpu_and_make_room(managed: Mapping[str, Any]) -> None:
    mib = 1 << 20
    assert managed["pages"]["taken"] == [0, 6 * mib, 6 * mib, 4 * mib, 6 * mib, 0, 0]
    assert managed["full"] == {"after_prefetch": True, "error": 0, "free": True}


def test_managed_memory_has_its_values_and_one_address(managed: Mapping[str, Any]) -> None:
    expected = {"host": [0x01010101, 7, 0, 0], "device": [0, 7, 0, 0], "type": 3, "one_address": True}
    assert managed["values"] == expected


def test_managed_memory_refuses_wrong_arguments(managed: Mapping[str, Any]) -> None:
    assert managed["wrong"] == {"no bytes": 1, "flags": 1, "unknown": 1}
