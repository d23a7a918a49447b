"""What survives a round trip to the device, and what reads as zeros."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from typing import Any

import pytest

Figures = Callable[..., Mapping[str, Any]]
Start = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def copies(figures: Figures) -> Mapping[str, Any]:
    return figures("copies.py")


@pytest.fixture(scope="module")
def values(figures: Figures) -> Mapping[str, Any]:
    found: Mapping[str, Any] = figures("runtime.py")["values"]
    return found


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scalar", 2.5),
        ("labels", [3, 1, 4]),
        ("clone", [3, 1, 4]),
        ("back", [3, 1, 4]),
        ("non_blocking", 7),
        ("bool", True),
        ("first", 3),
        ("last", 4),
        ("elements", [3, 1, 4]),
        ("slice", [1, 4]),
        ("rewritten", [5.0, 6.0]),
        ("parts", [1, 7, 8, 9, 5, 0]),
    ],
)
def test_a_small_value_that_the_host_put_there_comes_back(name: str, value: object, copies: Mapping[str, Any]) -> None:
    assert copies["survivors"][name] == value


def test_copies_up_to_64_kib_keep_values_and_larger_ones_do_not(copies: Mapping[str, Any]) -> None:
    assert copies["sizes"] == {"small": 9 * 64 * 1024, "large": 0}


def test_what_a_kernel_should_have_written_reads_as_zeros(copies: Mapping[str, Any]) -> None:
    assert copies["kernels"] == {
        "sum": 0.0,
        "product": [0.0, 0.0, 0.0],
        "nonzero": [0, 2],
        "sorted": [0.0, 0.0, 0.0],
    }


def test_new_tensor_at_an_address_with_host_values_is_zero(copies: Mapping[str, Any]) -> None:
    assert copies["reused"] == {"same_addresses": True, "values": [0.0] * 8, "nonzero": [0, 1]}


def test_pytorchs_profiler_still_hears_of_the_memory(copies: Mapping[str, Any]) -> None:
    assert copies["profiled"] == 4096


def test_pinned_memory_is_known_as_such_and_holds_its_values(copies: Mapping[str, Any]) -> None:
    assert copies["pinned"] == {"pinned": True, "plain": False, "values": list(range(10))}


def test_freed_memory_has_no_values_when_it_is_allocated_again(values: Mapping[str, Any]) -> None:
    assert values["kept"] == 7
    assert values["same_address"]
    assert values["emptied"] == 0


def test_a_fill_by_the_runtime_is_real(values: Mapping[str, Any]) -> None:
    assert values["set"] == 0x01010101


def test_loop_that_waits_for_a_kernel_result_prints_the_reason(start: Start) -> None:
    finished = start("waiting.py")
    assert finished.returncode == 0, finished.stderr
    printed = [line for line in finished.stderr.splitlines() if line.startswith("memprof phantom:")]
    assert printed == [
        "memprof phantom: the program has read 2000 results of kernels, which do not run: each was zeros. "
        "A loop that waits for one of them does not end."
    ]
    assert finished.stdout == "gave up\n"


def test_few_reads_of_kernel_results_print_nothing(start: Start) -> None:
    finished = start("waiting.py", "20")
    assert "memprof phantom:" not in finished.stderr
