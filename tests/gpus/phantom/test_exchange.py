"""NCCL between the processes of one `memprof run`: small values arrive, and no rank waits without an end."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from memprof.gpus.phantom.build import PhantomLibraries
from tests.paths import WORKLOADS

RANKS = 3
MINE = [[rank + 1, 2, 3 - rank] for rank in range(RANKS)]  # what each rank of the workload sends


def memprof_run(
    gpus: int, workload: str, *arguments: str, values: str = "zeros", **environment: str
) -> subprocess.CompletedProcess[str]:
    command = ["memprof", "run", "--gpu", f"h100-80gb:{gpus}", "--values", values, "--", sys.executable]
    command.append(str(WORKLOADS / workload))
    return subprocess.run(
        [sys.executable, "-m", *command, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.fixture(scope="module", params=["zeros", "cpu"])
def exchanged(
    phantom_libraries: PhantomLibraries, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> list[Mapping[str, Any]]:
    """What each of three ranks got, with zeros in the place of unknown values, and with values of the CPU."""
    assert phantom_libraries.preload.is_file()
    folder = tmp_path_factory.mktemp("exchanged")
    values = {"values": request.param}
    finished = memprof_run(RANKS, "exchange.py", str(folder), **values, MEMPROF_NCCL_TIMEOUT="60")
    assert finished.returncode == 0, finished.stderr
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(RANKS)]


@pytest.fixture(scope="module")
def missing(phantom_libraries: PhantomLibraries) -> Mapping[str, tuple[list[int], str]]:
    """How two ranks end of which one goes another way, and what they write to stderr."""
    assert phantom_libraries.preload.is_file()
    finished = memprof_run(2, "missing.py", MEMPROF_NCCL_TIMEOUT="4")
    assert finished.returncode == 0, finished.stderr
    found: Mapping[str, tuple[list[int], str]] = json.loads(finished.stdout)
    return found


def combined(combine: Callable[..., float]) -> list[float]:
    return [combine(each) for each in zip(*MINE, strict=True)]


@pytest.mark.parametrize(
    ("name", "combine"),
    [("sum", sum), ("product", math.prod), ("max", max), ("min", min)],
    ids=("sum", "product", "max", "min"),
)
def test_all_reduce_combines_the_values_of_all_ranks(
    name: str, combine: Callable[..., float], exchanged: list[Mapping[str, Any]]
) -> None:
    results = [found["reduced"] for found in exchanged]
    of_operation = {key: value for key, value in results[0].items() if key.startswith(f"{name} ")}
    assert len(of_operation) == 8
    assert {key: value for key, value in of_operation.items() if value != combined(combine)} == {}
    assert results == [results[0]] * RANKS


def test_all_reduce_averages(exchanged: list[Mapping[str, Any]]) -> None:
    assert exchanged[1]["reduced"]["average"] == [2.0, 2.0, 2.0]


def test_each_collective_moves_values_between_ranks(exchanged: list[Mapping[str, Any]]) -> None:
    for rank, found in enumerate(exchanged):
        assert found["collectives"] == {
            "gathered": MINE,
            "scattered": [RANKS * (2 * rank) + 3, RANKS * (2 * rank + 1) + 3],  # 3 = 0 + 1 + 2
            "exchanged": [2 * rank + part + sender for sender in range(RANKS) for part in range(2)],
            "broadcast": MINE[1],
            "reduced to 0": combined(sum) if rank == 0 else None,
        }


def test_object_collectives_deliver_the_objects(exchanged: list[Mapping[str, Any]]) -> None:
    for rank, found in enumerate(exchanged):
        assert found["objects"] == {
            "gathered": [{"rank": other, "text": "x" * 1000 * other} for other in range(RANKS)],
            "told": ["first", {"second": 2}],
            "at root": list(range(RANKS)) if rank == 0 else None,
            "part": [f"for {rank}"],
            "sent": [None, None] if rank == 2 else [0, "sent"],
            "large": [[400_000, 1], [800_000, 1], [5, 5]],
        }


def test_a_group_of_some_ranks_has_its_true_size(exchanged: list[Mapping[str, Any]]) -> None:
    pair = [a + b for a, b in zip(MINE[0], MINE[2], strict=True)]
    for rank, found in enumerate(exchanged):
        assert found["groups"] == {"pair": MINE[1] if rank == 1 else pair, "all": combined(sum), "one": MINE[rank]}


def test_groups_can_be_used_in_different_orders(exchanged: list[Mapping[str, Any]]) -> None:
    total = combined(sum)
    assert [found["unordered"] for found in exchanged] == [[total, [10 * each for each in total]]] * RANKS


def test_a_ring_of_sends_and_receives_ends(exchanged: list[Mapping[str, Any]]) -> None:
    assert [found["pairs"] for found in exchanged] == [MINE[rank - 1] for rank in range(RANKS)]


def test_results_are_those_in_the_order_of_the_stream(exchanged: list[Mapping[str, Any]]) -> None:
    for found in exchanged:
        assert found["behind"]["late"] == [combined(sum)] * 2
        assert found["behind"]["overwritten"] == [5, 5, 5]


def test_large_values_arrive_as_zeros(exchanged: list[Mapping[str, Any]]) -> None:
    assert [found["behind"]["large"] for found in exchanged] == [[0, 0]] * RANKS


def test_values_of_kernels_arrive_if_the_cpu_computes_them(
    exchanged: list[Mapping[str, Any]], request: pytest.FixtureRequest
) -> None:
    computed = [math.exp(first) + other + last for first, other, last in zip(*MINE, strict=True)]
    expected = computed if request.node.callspec.params["exchanged"] == "cpu" else [0, 0, 0]
    for found in exchanged:
        assert found["behind"]["unknown"] == pytest.approx(expected)


def test_a_barrier_holds_the_host_until_all_have_come(exchanged: list[Mapping[str, Any]]) -> None:
    assert [found["shared"] for found in exchanged] == [1.5] * RANKS


def test_a_captured_collective_is_no_call(exchanged: list[Mapping[str, Any]]) -> None:
    assert [found["captured"] for found in exchanged] == [combined(sum)] * RANKS


@pytest.mark.parametrize(
    ("case", "statuses", "line"),
    [
        ("dies", [124, 7], r"rank 0 waits in all_reduce for rank 1, whose process \d+ has ended"),
        (
            "never calls",
            [124, 7],
            r"rank 0 has waited \d s in all_reduce for rank 1; MEMPROF_NCCL_TIMEOUT=4 is the limit",
        ),
        (
            "other call",
            [124, 124],
            r"rank 0 calls all_reduce of 4 float32 where rank 1 calls broadcast of 4 float32: .+",
        ),
        (
            "other size",
            [124, 124],
            r"rank 0 calls all_reduce of 4 float32 where rank 1 calls all_reduce of 2 float32: .+",
        ),
    ],
)
def test_a_rank_that_goes_another_way_ends_the_others(
    case: str, statuses: list[int], line: str, missing: Mapping[str, tuple[list[int], str]]
) -> None:
    ended, errors = missing[case]
    assert ended == statuses
    wanted = f"memprof phantom: {line}; the process ends with status 124"
    assert [found for found in errors.splitlines() if re.fullmatch(wanted, found)] != [], errors


def test_two_ranks_on_one_gpu_are_refused_as_by_nccl(missing: Mapping[str, tuple[list[int], str]]) -> None:
    ended, errors = missing["same GPU"]
    assert ended == [1, 1]
    assert "memprof phantom: NCCL needs a GPU for each rank, and ranks 0 and 1 both use GPU 0" in errors
    assert "DistBackendError" in errors
    assert "invalid usage" in errors


@pytest.mark.usefixtures("phantom_libraries")
def test_a_wrong_time_limit_is_refused_in_one_line() -> None:
    finished = memprof_run(2, "missing.py", MEMPROF_NCCL_TIMEOUT="soon")
    assert (finished.returncode, finished.stderr) == (
        2,
        "memprof: MEMPROF_NCCL_TIMEOUT=soon: must be a number of seconds above 0, for example 600\n",
    )
