"""How the requests of a run grow with the batch: what stays, what is scaled, and what a second run adds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memprof.allocator.growth import RecordedRun, extrapolated, has_pattern_of, is_informative, scaled
from memprof.units import MIB


def run(batch_size: int, *requests: int, complete: bool = True) -> RecordedRun:
    return RecordedRun(batch_size=batch_size, requests=requests, complete=complete)


def test_is_informative_only_for_primes_from_11_on() -> None:
    assert [number for number in range(40) if is_informative(number)] == [11, 13, 17, 19, 23, 29, 31, 37]


def test_scaled_keeps_fixed_sizes_and_frees() -> None:
    assert scaled(run(10, 4000, 700, ~1, 55), {4000}).at(25) == [4000, 1750, ~1, 138]


@given(st.integers(1, 500), st.integers(1, 500), st.integers(0, 2000))
def test_extrapolated_runs_on_a_line_are_exact(one: int, other: int, wanted: int) -> None:
    def on_a_line(size: int) -> RecordedRun:
        return run(size, 4000, 300 * size, MIB + 1000 * size, ~1)

    if one != other:
        assert extrapolated(on_a_line(one), on_a_line(other), ()).at(wanted) == list(on_a_line(wanted).requests)


@pytest.mark.parametrize(
    ("size", "other_size", "wanted"),
    [
        (9 * MIB, 9 * MIB, 9 * MIB),  # a workspace that stopped growing
        (8 * MIB, 9 * MIB, 8 * MIB),  # another plan, with less
        (9 * MIB, 1, 18 * MIB),  # another plan, with more: in proportion, not along the steep line
    ],
)
def test_extrapolated_size_grows_at_most_in_proportion(size: int, other_size: int, wanted: int) -> None:
    assert extrapolated(run(100, size), run(90, other_size), ()).at(200) == [wanted]


def test_extrapolated_scales_what_the_other_run_did_not_reach() -> None:
    complete, failed = run(100, 4000, 1000, ~1, 50), run(200, 4000, 1500, complete=False)
    assert extrapolated(complete, failed, {4000}).at(300) == [4000, 2000, ~1, 150]
    assert extrapolated(failed, complete, {4000}).at(300) == [4000, 2000, ~1, 150]


def test_has_pattern_of_compares_as_far_as_both_runs_go() -> None:
    complete = run(100, 4000, 1000, ~1, 50)
    assert has_pattern_of(complete, run(7, 1, 2, ~1, 3))
    assert not has_pattern_of(complete, run(7, 1, 2, ~1))
    assert has_pattern_of(complete, run(7, 1, 2, ~1, 3, complete=False))
    assert has_pattern_of(run(7, 1, 2, complete=False), complete)
    assert not has_pattern_of(run(7, 1, ~0, 2, complete=False), complete)


def test_optional_are_the_refused_and_what_looks_like_a_workspace() -> None:
    requests = (4000, 37 * 8, ~1, 37 * 8 + 5, ~2, 4000, ~3, 99, 7, ~4, 37, ~6)
    assert run(37, *requests).optional == {2}
    assert RecordedRun(batch_size=37, requests=requests, refused=frozenset([6])).optional == {2, 6}


def test_batch_independent_sizes_are_kept_and_no_multiple() -> None:
    assert run(37, 4000, 37 * 8, 41, ~2).batch_independent_sizes == {4000}
