"""The search for the edge: exact on lines, within bounds, and at a verified edge whatever the memory does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memprof.experiments.max_batch.strategy import (
    BatchBoundary,
    Bounds,
    TrialFigures,
    find_boundary,
    fit_line,
    next_batch_size,
)

GIB = 1024**3


@dataclass(frozen=True, kw_only=True)
class World:
    """A GPU in miniature: whether a batch trains, and what it needs and holds where it does."""

    trains: Callable[[int], bool]
    needs: Callable[[int], dict[str, int]]
    held: Callable[[int], int]


def search(world: World, bounds: Bounds, most_tries: int = 200) -> tuple[BatchBoundary, list[int]]:
    samples: list[TrialFigures] = []
    while (size := next_batch_size(samples, bounds)) is not None:
        assert size not in [sample.batch_size for sample in samples], "tried twice"
        trains = world.trains(size)
        needs, held = (world.needs(size), world.held(size)) if trains else ({}, None)
        samples.append(TrialFigures(batch_size=size, trains=trains, needs_bytes=needs, held_bytes=held))
        assert len(samples) <= most_tries
    return find_boundary(samples), [sample.batch_size for sample in samples]


def linear(fixed: int, slope: int, available: int) -> World:
    def line(size: int) -> int:
        return fixed + slope * size

    return World(trains=lambda size: line(size) <= available, needs=lambda size: {"forward": line(size)}, held=line)


@given(st.integers(0, 8 * GIB), st.integers(1, GIB), st.integers(9 * GIB, 200 * GIB))
def test_a_line_is_followed_to_its_end_in_at_most_five_tries(fixed: int, slope: int, available: int) -> None:
    edge, trials = search(linear(fixed, slope, available), Bounds(available_bytes=available))
    largest = (available - fixed) // slope
    assert edge == BatchBoundary(trains=largest, fails=largest + 1)
    assert len(trials) <= 5


@given(
    st.integers(0, 100_000),
    st.integers(1, 64),
    st.integers(1, 5000),
    st.lists(st.integers(0, 10**12), min_size=1, max_size=50),
)
def test_every_edge_is_found_and_proven_however_wrong_the_lines_are(
    largest: int, unit: int, start: int, noise: list[int]
) -> None:
    def anything(size: int) -> int:
        return noise[size % len(noise)]

    world = World(trains=lambda size: size <= largest, needs=lambda size: {"a": anything(size)}, held=anything)
    edge, trials = search(world, Bounds(available_bytes=10**11, start=start, multiple_of=unit), most_tries=8 + 60)
    assert edge == BatchBoundary(trains=largest // unit * unit, fails=largest // unit * unit + unit)
    assert all(size % unit == 0 for size in trials)


@given(st.integers(0, 10_000), st.integers(1, 10_000), st.integers(1, 40), st.integers(0, 10_000))
def test_nothing_beyond_the_bound_is_tried(largest: int, start: int, unit: int, more: int) -> None:
    most = max(start, unit) + more
    bounds = Bounds(available_bytes=GIB, start=start, most=most, multiple_of=unit)
    world = World(trains=lambda size: size <= largest, needs=lambda size: {"a": 1000 * size}, held=lambda size: size)
    edge, trials = search(world, bounds)
    assert max(trials) <= most
    assert edge.trains == min(largest, most) // unit * unit
    assert (edge.fails is None) == (min(largest, most) // unit == most // unit)


@given(st.integers(2, 5000), st.integers(0, 10))
def test_memory_lost_in_half_used_segments_costs_few_tries(largest: int, percent_lost: int) -> None:
    available, fixed = 24 * GIB, GIB // 4
    slope = (available * (100 - percent_lost) // 100 - fixed) // largest
    world = World(
        trains=lambda size: size <= largest,
        needs=lambda size: {"backward": fixed + slope * size},
        held=lambda size: min(available, fixed + slope * size * 5 // 4),
    )
    edge, trials = search(world, Bounds(available_bytes=available))
    assert edge == BatchBoundary(trains=largest, fails=largest + 1)
    assert len(trials) <= 4 + 2 * max(largest // 8, 1).bit_length()


def test_a_step_in_the_need_still_ends_at_its_edge() -> None:
    def needs(size: int) -> int:
        return size * GIB // 100 + (4 * GIB if size >= 900 else 0)  # another convolution algorithm

    world = World(trains=lambda size: needs(size) <= 12 * GIB, needs=lambda size: {"forward": needs(size)}, held=needs)
    assert search(world, Bounds(available_bytes=12 * GIB))[0] == BatchBoundary(trains=899, fails=900)


def test_the_steepest_phase_decides_although_another_is_higher_at_first() -> None:
    def phases(size: int) -> dict[str, int]:
        return {"optimizer": 5 * GIB, "forward": GIB + size * GIB // 8}

    def held(size: int) -> int:
        return max(phases(size).values())

    world = World(trains=lambda size: held(size) <= 20 * GIB, needs=phases, held=held)
    edge, trials = search(world, Bounds(available_bytes=20 * GIB))
    assert edge == BatchBoundary(trains=152, fails=153)
    assert len(trials) <= 5


def test_a_first_batch_that_is_too_large_leads_down() -> None:
    edge, trials = search(linear(GIB, GIB, 12 * GIB), Bounds(available_bytes=12 * GIB, start=512))
    assert trials[0] == 512
    assert edge == BatchBoundary(trains=11, fails=12)


def test_where_nothing_trains_the_smallest_batch_was_tried() -> None:
    world = linear(2 * GIB, 1, GIB)
    assert search(world, Bounds(available_bytes=GIB, multiple_of=8)) == (BatchBoundary(trains=0, fails=8), [8])


def test_a_failure_that_ran_to_its_end_is_used_to_draw_the_line() -> None:
    def sample(size: int) -> TrialFigures:
        held = GIB + size * GIB // 100
        return TrialFigures(batch_size=size, trains=held <= 5 * GIB, needs_bytes={"held": held}, held_bytes=held)

    samples, bounds = [sample(8), sample(2000)], Bounds(available_bytes=5 * GIB)
    assert next_batch_size(samples, bounds) == 400
    samples += [sample(400)]
    assert next_batch_size(samples, bounds) == 401
    assert next_batch_size([*samples, sample(401)], bounds) is None


def test_a_line_through_points_on_it_has_no_residual() -> None:
    assert fit_line([(1, 15), (2, 20), (11, 65)]) == pytest.approx((10.0, 5.0, 0.0))
    assert fit_line([(0, 0), (1, 3), (2, 0)]) == pytest.approx((1.0, 0.0, 2.0))
    assert fit_line([(4, 9)]) is None
    assert fit_line([]) is None
