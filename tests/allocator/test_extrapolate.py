"""Runs acted out at other batch sizes, without a GPU: what grows is told apart, and the edge is the exact one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memprof.allocator.extrapolate import BatchExtrapolator, extrapolated, is_informative
from memprof.allocator.simulator import peak_requested, simulate

MIB = 1024**2
GIB = 1024**3
WEIGHTS = [64 * 3 * 7 * 7 * 4, 512 * 512 * 9 * 4, 2048 * 1000 * 4, 4000]
SAMPLE = [150_528 * 4, 64 * 112 * 112 * 4, 512 * 7 * 7 * 4]


def moves_of(batch_size: int, workspace_bytes: int = 0) -> list[int]:
    """Two steps of a model: weights and batch are kept, activations and gradients come and go."""
    kept = [*WEIGHTS, SAMPLE[0] * batch_size]
    requests = list(kept)
    allocations = len(kept)
    for _ in range(2):
        activations = [size * batch_size for size in SAMPLE]
        workspace = [workspace_bytes + 1000 * batch_size] if workspace_bytes else []
        sizes = [*activations, *workspace, *WEIGHTS]
        requests += sizes
        requests += [~(allocations + place) for place in range(len(sizes))]
        allocations += len(sizes)
    return requests


def true_edge(available_bytes: int, workspace_bytes: int = 0) -> int:
    size = 1
    while simulate(moves_of(size + 1, workspace_bytes), available_bytes).fits:
        size += 1
    return size


@pytest.mark.parametrize("available_bytes", [GIB, 3 * GIB + 12345, 7 * GIB])
def test_one_run_of_a_prime_says_exactly_how_far_tensors_go(available_bytes: int) -> None:
    rehearsal = BatchExtrapolator()
    rehearsal.add(37, moves_of(37))
    assert rehearsal.largest_that_fits(available_bytes) == true_edge(available_bytes)


def test_two_runs_say_it_of_workspaces_too() -> None:
    rehearsal = BatchExtrapolator()
    rehearsal.add(37, moves_of(37, workspace_bytes=9 * MIB))
    assert rehearsal.largest_that_fits(3 * GIB) != true_edge(3 * GIB, workspace_bytes=9 * MIB)
    rehearsal.add(300, moves_of(300, workspace_bytes=9 * MIB))
    assert rehearsal.largest_that_fits(3 * GIB) == true_edge(3 * GIB, workspace_bytes=9 * MIB)


def test_one_run_that_is_no_prime_says_nothing() -> None:
    rehearsal = BatchExtrapolator()
    rehearsal.add(64, moves_of(64))
    assert rehearsal.largest_that_fits(GIB) is None


def test_batch_sizes_of_a_unit_are_primes_of_units() -> None:
    rehearsal = BatchExtrapolator(unit=8)
    rehearsal.add(8 * 13, moves_of(8 * 13))
    assert rehearsal.largest_that_fits(3 * GIB) == true_edge(3 * GIB) // 8 * 8


def test_held_memory_is_a_bound_of_its_own() -> None:
    rehearsal = BatchExtrapolator()
    rehearsal.add(37, moves_of(37))
    found = rehearsal.largest_that_fits(8 * GIB, held_bytes=2 * GIB)
    assert found is not None
    assert simulate(moves_of(found), 8 * GIB).peak_reserved_bytes <= 2 * GIB
    assert simulate(moves_of(found + 1), 8 * GIB).peak_reserved_bytes > 2 * GIB


@given(st.integers(1, 500), st.integers(1, 500), st.integers(0, 2000))
def test_two_runs_lie_on_the_line_that_they_draw(one: int, other: int, wanted: int) -> None:
    if one != other:
        first, second = ((size, moves_of(size, workspace_bytes=MIB)) for size in (one, other))
        assert extrapolated(first, second, wanted) == moves_of(wanted, workspace_bytes=MIB)


@given(st.lists(st.integers(0, GIB), min_size=1), st.data())
def test_no_allocator_does_with_less_than_what_is_in_use_at_a_time(sizes: list[int], data: st.DataObject) -> None:
    freed = data.draw(st.permutations(range(len(sizes))))
    requests = [*sizes, *(~place for place in freed[::2]), *sizes]
    run = simulate(requests, None)
    assert max(sum(sizes), 2 * sum(sizes) - sum(sizes[place] for place in freed[::2])) == peak_requested(requests)
    assert peak_requested(requests) <= run.peak_allocated_bytes <= run.peak_reserved_bytes


def test_small_primes_and_other_numbers_do_not_tell() -> None:
    assert [number for number in range(40) if is_informative(number)] == [11, 13, 17, 19, 23, 29, 31, 37]
