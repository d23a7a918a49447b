"""PyTorch's allocator on a phantom does what its documentation says, under each of its settings.

Source of the rules: PyTorch's notes on CUDA semantics, "Memory management" and "Optimizing memory usage with
PYTORCH_CUDA_ALLOC_CONF", and the docstrings of torch.cuda.memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from memprof.gpus.catalog import find_gpu
from memprof.units import GIB, MIB
from tests.conftest import torch_is_at_least

Figures = Callable[..., Mapping[str, Any]]
TOTAL_BYTES = find_gpu("rtx-4060").total_bytes
PLAIN, EXPANDABLE, POOL = "", "expandable_segments:True", "backend:cudaMallocAsync"
# The whole message of torch 2.9 about an allocation that its allocator for cudaMallocAsync refuses.
POOL_OF_TORCH_2_9 = "Allocation on device "
COLLECTING, SPLITTING = "garbage_collection_threshold:0.6", "max_split_size_mb:64"


@pytest.fixture(scope="module")
def settings(figures: Figures) -> Mapping[str, Mapping[str, Any]]:
    return {
        setting: figures("allocator.py", gpu="rtx-4060", PYTORCH_CUDA_ALLOC_CONF=setting)
        for setting in (PLAIN, EXPANDABLE, POOL, COLLECTING, SPLITTING)
    }


@pytest.fixture
def plain(settings: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    return settings[PLAIN]


def every(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("setting", names, ids=[name or "plain" for name in names])


@every(PLAIN, EXPANDABLE, POOL, COLLECTING, SPLITTING)
def test_allocator_setting_applies_and_all_memory_is_given_back(
    setting: str, settings: Mapping[str, Mapping[str, Any]]
) -> None:
    found = settings[setting]
    assert found["backend"] == ("cudaMallocAsync" if setting == POOL else "native")
    assert found["end"] == [0, 0]


@every(PLAIN, EXPANDABLE)
def test_empty_cache_gives_back_what_is_cached_and_nothing_else(
    setting: str, settings: Mapping[str, Mapping[str, Any]]
) -> None:
    found = settings[setting]["emptied"]
    assert (found["cached"], found["left"]) == (100 * MIB, found["kept"])


def test_cudamallocasync_pool_grows_and_shrinks_by_32_mib(
    settings: Mapping[str, Mapping[str, Any]],
) -> None:
    found = settings[POOL]["emptied"]
    assert (found["cached"], found["left"]) == (128 * MIB, 64 * MIB)  # 40 MiB and 60 MiB are two segments each


@every(PLAIN, EXPANDABLE, COLLECTING, SPLITTING)
def test_allocation_that_does_not_fit_frees_cache_and_retries(
    setting: str, settings: Mapping[str, Mapping[str, Any]]
) -> None:
    found = settings[setting]["retried"]
    assert found["retries"] >= 1
    assert found["ooms"] == 1
    assert found["refused"].startswith("CUDA out of memory.")
    assert found["granted_afterwards"] == "granted"


def test_cached_segments_of_the_pool_are_freed_on_demand(settings: Mapping[str, Mapping[str, Any]]) -> None:
    found = settings[POOL]["retried"]
    expected = "out of memory" if torch_is_at_least(2, 10) else POOL_OF_TORCH_2_9
    assert expected in found["refused"]
    assert found["granted_afterwards"] == "granted"


@every(PLAIN, EXPANDABLE, COLLECTING, SPLITTING)
def test_the_keys_of_memory_stats_add_up(setting: str, settings: Mapping[str, Mapping[str, Any]]) -> None:
    found = settings[setting]["added_up"]
    assert {key: values for key, values in found["pools"].items() if values[0] != values[1] + values[2]} == {}
    for name, (current, allocated, freed, peak) in found["balance"].items():
        assert current == allocated - freed, name
        assert current <= peak <= allocated, name
    assert found["balance"]["reserved_bytes"][0] == found["reserved"][0] == found["reserved"][1]


def test_reserved_memory_is_active_or_split_off(plain: Mapping[str, Any]) -> None:
    balance = {name: figures[0] for name, figures in plain["added_up"]["balance"].items()}
    assert balance["reserved_bytes"] == balance["active_bytes"] + balance["inactive_split_bytes"]


@every(PLAIN, EXPANDABLE, POOL)
def test_a_reset_peak_starts_from_what_is_allocated(setting: str, settings: Mapping[str, Mapping[str, Any]]) -> None:
    assert settings[setting]["peaks"] == [60 * MIB, 10 * MIB]


def test_sizes_are_rounded_to_512_bytes_in_documented_segments(plain: Mapping[str, Any]) -> None:
    """Up to 1 MiB: segments of 2 MiB; below 10 MiB: of 20 MiB; else the size rounded up to 2 MiB."""
    assert plain["rounded"] == [
        [512, 2 * MIB],
        [1024, 2 * MIB],
        [MIB, 2 * MIB],
        [MIB + 512, 20 * MIB],
        [10 * MIB, 10 * MIB],
        [10 * MIB + 512, 12 * MIB],
        [34 * MIB, 34 * MIB],  # the remainder of a segment is split off only if it is more than 1 MiB
    ]


@every(PLAIN, EXPANDABLE, POOL)
def test_a_fraction_limits_the_process_until_it_is_lifted(
    setting: str, settings: Mapping[str, Mapping[str, Any]]
) -> None:
    found = settings[setting]["fraction"]
    assert (found["fraction"], found["inside"], found["lifted"]) == (0.25, "granted", "granted")
    if setting == POOL and not torch_is_at_least(2, 10):
        assert found["outside"] == POOL_OF_TORCH_2_9
    else:
        assert f"{TOTAL_BYTES / 4 / GIB:.2f} GiB" in found["outside"]


def test_max_split_size_mb_keeps_larger_blocks_whole(settings: Mapping[str, Mapping[str, Any]]) -> None:
    assert settings[PLAIN]["large_split"] == [200 * MIB, 200 * MIB, 100 * MIB]
    assert settings[SPLITTING]["large_split"] == [200 * MIB, 300 * MIB, 100 * MIB]


def test_garbage_collection_frees_cache_above_its_threshold(settings: Mapping[str, Mapping[str, Any]]) -> None:
    assert settings[PLAIN]["collected"] == [2, 3, 0]  # in blocks of the new size, rounded down; and retries
    assert settings[COLLECTING]["collected"] == [2, 1, 0]


@every(PLAIN, EXPANDABLE)
def test_user_memory_pool_is_separate(setting: str, settings: Mapping[str, Mapping[str, Any]]) -> None:
    found = settings[setting]["pools"]
    assert sum(found["segments"]) == (30 if setting == PLAIN else 40) * MIB
    assert found["left"] == 0


@every(PLAIN, EXPANDABLE, POOL)
def test_pinned_memory_is_the_hosts_and_keeps_its_values(
    setting: str, settings: Mapping[str, Mapping[str, Any]]
) -> None:
    found = settings[setting]["pinned"]
    assert found["pinned"]
    assert found["same"]
    assert found["host"]
    assert found["device"] <= 2 * MIB  # the copy on the device
