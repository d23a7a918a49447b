"""The search for the boundary: exact on lines, within bounds, and verified whatever the memory does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memprof.experiments.max_batch.boundary import BatchBoundary, TrialFigures, find_boundary
from memprof.experiments.max_batch.lines import fit_line
from memprof.experiments.max_batch.situation import Bounds, StartOrigin
from memprof.experiments.max_batch.strategy import next_batch_size

GIB = 1024**3


@dataclass(frozen=True, kw_only=True)
class World:
    """A GPU in miniature: whether a batch trains, what it needs and holds if it does, else whether memory is short."""

    trains: Callable[[int], bool]
    needs: Callable[[int], dict[str, int]]
    held: Callable[[int], int]
    lacks_memory: bool = True


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What the replays say: `largest`, unless the boundary rules it out, and the sizes that `low` says fit."""

    largest: int | None = None
    fitting: frozenset[int] = frozenset()
    limits: tuple[int, ...] = ()
    cut_off: frozenset[int] = frozenset()

    def largest_that_fits(self, boundary: BatchBoundary) -> int | None:
        if self.largest is None:
            return None
        return max(boundary.trains, min(self.largest, (boundary.fails or 10**12) - 1))

    def fits_from(self, recorded: int, batch_size: int) -> bool:
        return recorded > 0 and batch_size in self.fitting

    def knows_the_end(self, recorded: int) -> bool:
        return recorded not in self.cut_off

    def index_limits(self, recorded: int) -> tuple[int, ...]:
        return self.limits if recorded else ()


def search(world: World, bounds: Bounds, most_trials: int = 200) -> tuple[BatchBoundary, list[int]]:
    samples: list[TrialFigures] = []
    while (size := next_batch_size(samples, bounds)) is not None:
        assert size not in [sample.batch_size for sample in samples], "two trials of one size"
        trains = world.trains(size)
        needs, held = (world.needs(size), world.held(size)) if trains else ({}, None)
        samples.append(
            TrialFigures(
                batch_size=size, trains=trains, lacks_memory=world.lacks_memory, needs_bytes=needs, held_bytes=held
            )
        )
        assert len(samples) <= most_trials
    return find_boundary(samples), [sample.batch_size for sample in samples]


def linear(fixed: int, slope: int, available: int) -> World:
    def line(size: int) -> int:
        return fixed + slope * size

    return World(trains=lambda size: line(size) <= available, needs=lambda size: {"forward": line(size)}, held=line)


@given(st.integers(0, 8 * GIB), st.integers(1, GIB), st.integers(9 * GIB, 200 * GIB))
def test_next_batch_size_on_a_line_needs_five_trials(fixed: int, slope: int, available: int) -> None:
    boundary, trials = search(linear(fixed, slope, available), Bounds(available_bytes=available))
    largest = (available - fixed) // slope
    assert boundary == BatchBoundary(trains=largest, fails=largest + 1)
    assert len(trials) <= 5


@given(
    st.integers(0, 100_000),
    st.integers(1, 64),
    st.integers(1, 5000),
    st.lists(st.integers(0, 10**12), min_size=1, max_size=50),
)
def test_next_batch_size_with_noise_finds_the_boundary(largest: int, unit: int, start: int, noise: list[int]) -> None:
    def anything(size: int) -> int:
        return noise[size % len(noise)]

    world = World(trains=lambda size: size <= largest, needs=lambda size: {"a": anything(size)}, held=anything)
    boundary, trials = search(world, Bounds(available_bytes=10**11, start=start, multiple_of=unit), most_trials=8 + 60)
    assert boundary == BatchBoundary(trains=largest // unit * unit, fails=largest // unit * unit + unit)
    assert all(size % unit == 0 for size in trials)


@given(st.integers(0, 10_000), st.integers(1, 10_000), st.integers(1, 40), st.integers(0, 10_000))
def test_next_batch_size_stays_within_most(largest: int, start: int, unit: int, more: int) -> None:
    most = max(start, unit) + more
    bounds = Bounds(available_bytes=GIB, start=start, most=most, multiple_of=unit)
    world = World(trains=lambda size: size <= largest, needs=lambda size: {"a": 1000 * size}, held=lambda size: size)
    boundary, trials = search(world, bounds)
    assert max(trials) <= most
    assert boundary.trains == min(largest, most) // unit * unit
    assert (boundary.fails is None) == (min(largest, most) // unit == most // unit)


@given(st.integers(2, 5000), st.integers(0, 10))
def test_next_batch_size_with_lost_memory_needs_few_trials(largest: int, percent_lost: int) -> None:
    available, fixed = 24 * GIB, GIB // 4
    slope = (available * (100 - percent_lost) // 100 - fixed) // largest
    world = World(
        trains=lambda size: size <= largest,
        needs=lambda size: {"backward": fixed + slope * size},
        held=lambda size: min(available, fixed + slope * size * 5 // 4),
    )
    boundary, trials = search(world, Bounds(available_bytes=available))
    assert boundary == BatchBoundary(trains=largest, fails=largest + 1)
    assert len(trials) <= 4 + 2 * max(largest // 8, 1).bit_length()


def test_next_batch_size_finds_a_step_in_the_need() -> None:
    def needs(size: int) -> int:
        return size * GIB // 100 + (4 * GIB if size >= 900 else 0)  # another convolution algorithm

    world = World(trains=lambda size: needs(size) <= 12 * GIB, needs=lambda size: {"forward": needs(size)}, held=needs)
    assert search(world, Bounds(available_bytes=12 * GIB))[0] == BatchBoundary(trains=899, fails=900)


def test_next_batch_size_follows_the_steepest_phase() -> None:
    def phases(size: int) -> dict[str, int]:
        return {"optimizer": 5 * GIB, "forward": GIB + size * GIB // 8}

    def held(size: int) -> int:
        return max(phases(size).values())

    world = World(trains=lambda size: held(size) <= 20 * GIB, needs=phases, held=held)
    boundary, trials = search(world, Bounds(available_bytes=20 * GIB))
    assert boundary == BatchBoundary(trains=152, fails=153)
    assert len(trials) <= 5


def test_next_batch_size_start_too_large_leads_down() -> None:
    boundary, trials = search(linear(GIB, GIB, 12 * GIB), Bounds(available_bytes=12 * GIB, start=512))
    assert trials[0] == 512
    assert boundary == BatchBoundary(trains=11, fails=12)


def test_next_batch_size_none_trains_tries_the_smallest() -> None:
    world = linear(2 * GIB, 1, GIB)
    assert search(world, Bounds(available_bytes=GIB, multiple_of=8)) == (BatchBoundary(trains=0, fails=8), [8])


def test_next_batch_size_uses_failure_that_ran_to_its_end() -> None:
    def sample(size: int) -> TrialFigures:
        held = GIB + size * GIB // 100
        return TrialFigures(batch_size=size, trains=held <= 5 * GIB, needs_bytes={"held": held}, held_bytes=held)

    samples, bounds = [sample(8), sample(2000)], Bounds(available_bytes=5 * GIB)
    assert next_batch_size(samples, bounds) == 400
    samples += [sample(400)]
    assert next_batch_size(samples, bounds) == 401
    assert next_batch_size([*samples, sample(401)], bounds) is None


def test_fit_line_on_a_line_has_no_residual() -> None:
    assert fit_line([(1, 15), (2, 20), (11, 65)]) == pytest.approx((10.0, 5.0, 0.0))
    assert fit_line([(0, 0), (1, 3), (2, 0)]) == pytest.approx((1.0, 0.0, 2.0))
    assert fit_line([(4, 9)]) is None
    assert fit_line([]) is None


def limited(largest: int, *, lacks_memory: bool = True) -> World:
    """A world with a limit that shows in nothing that a trial needs or holds."""
    return World(
        trains=lambda size: size <= largest, needs=lambda _: {}, held=lambda size: size, lacks_memory=lacks_memory
    )


def test_predicted_limit_is_verified_by_two_trials() -> None:
    bounds = Bounds(available_bytes=GIB, start=11, predictor=Predictions(largest=1234))
    assert search(limited(1234), bounds)[1] == [11, 1234, 1235]


@given(st.integers(0, 5000), st.integers(1, 6000), st.integers(1, 100))
def test_wrong_prediction_ends_at_a_verified_boundary(largest: int, prediction: int, start: int) -> None:
    bounds = Bounds(available_bytes=GIB, start=start, predictor=Predictions(largest=prediction))
    boundary, _ = search(limited(largest), bounds, most_trials=8 + 40)
    assert boundary == BatchBoundary(trains=largest, fails=largest + 1)


def test_failed_multiple_of_4_leads_to_one_less() -> None:
    predictor = Predictions(largest=2000, fitting=frozenset([1999]))
    world = World(trains=lambda size: size <= 2400 and size % 4 != 0, needs=lambda _: {}, held=lambda size: size)
    assert search(world, Bounds(available_bytes=GIB, start=11, predictor=predictor))[1] == [11, 2000, 1999]
    elsewhere = Predictions(largest=2001, fitting=frozenset([1999, 2000]))
    assert search(limited(1999), Bounds(available_bytes=GIB, start=11, predictor=elsewhere))[1][:3] == [11, 2001, 2000]


def test_error_of_indices_is_looked_for_at_their_limits() -> None:
    predictor = Predictions(largest=90_000, limits=(80_000, 50_000, 100_000))
    bounds = Bounds(available_bytes=GIB, start=11, predictor=predictor)
    assert search(limited(50_000, lacks_memory=False), bounds)[1] == [11, 90_000, 80_000, 50_000, 50_001]


@given(st.integers(1, 5000), st.integers(1, 6000))
def test_error_elsewhere_is_found_by_halving(largest: int, start: int) -> None:
    bounds = Bounds(available_bytes=GIB, start=start, predictor=Predictions(largest=9000, limits=(700,)))
    boundary, _ = search(limited(largest, lacks_memory=False), bounds, most_trials=40)
    assert boundary == BatchBoundary(trains=largest, fails=largest + 1)


def test_much_left_above_a_boundary_is_tried_if_predicted() -> None:
    def sample(size: int, trains: bool) -> TrialFigures:
        return TrialFigures(batch_size=size, trains=trains, needs_bytes={"all": size * GIB} if trains else {})

    samples = [sample(4, True), sample(10, True), sample(11, False)]
    assert next_batch_size(samples, Bounds(available_bytes=40 * GIB)) == 25
    predictor = Predictions(fitting=frozenset([25]))
    assert next_batch_size(samples, Bounds(available_bytes=40 * GIB, predictor=predictor)) == 25
    assert next_batch_size(samples, Bounds(available_bytes=40 * GIB, predictor=Predictions())) is None


def test_trial_cut_off_with_another_pattern_is_followed_by_a_whole_one() -> None:
    world = linear(0, 10**6, 870 * 10**6)
    cut_off = Predictions(largest=1000, cut_off=frozenset({1000}))
    _, trials = search(world, Bounds(available_bytes=870 * 10**6, start=13, predictor=cut_off))
    assert trials[:3] == [13, 1000, 800]
    _, trials = search(world, Bounds(available_bytes=870 * 10**6, start=1000, predictor=cut_off))
    assert trials[:2] == [1000, 500]
    known = Predictions(largest=1000)
    _, trials = search(world, Bounds(available_bytes=870 * 10**6, start=13, predictor=known))
    assert trials[:3] == [13, 1000, 999]


def test_estimated_start_that_trains_is_doubled_not_multiplied_by_eight() -> None:
    world = linear(10 * GIB, 4 * GIB, 16 * GIB)
    estimated = Bounds(available_bytes=16 * GIB, start=1, start_origin=StartOrigin.ESTIMATED)
    assert search(world, estimated) == (BatchBoundary(trains=1, fails=2), [1, 2])
    assert search(world, replace(estimated, start_origin=StartOrigin.GIVEN))[1][:2] == [1, 8]


def test_predicted_start_that_fails_is_followed_by_a_size_just_below() -> None:
    world, unknown = linear(GIB, GIB // 100, 11 * GIB), Predictions(cut_off=frozenset({1010}))
    predicted = Bounds(available_bytes=11 * GIB, start=1010, start_origin=StartOrigin.PREDICTED, predictor=unknown)
    assert search(world, predicted)[1][:2] == [1010, 959]
    assert search(world, replace(predicted, start_origin=StartOrigin.ESTIMATED))[1][:2] == [1010, 505]


def test_lines_cap_the_prediction_of_a_few_samples() -> None:
    world = linear(70 * GIB, 10 * GIB, 139 * GIB)
    wrong = Bounds(available_bytes=139 * GIB, start=2, predictor=Predictions(largest=27))
    trained = [TrialFigures(batch_size=n, trains=True, needs_bytes=world.needs(n), held_bytes=1) for n in (1, 2)]
    assert next_batch_size(trained, wrong) == 6
    assert next_batch_size(trained[:1], wrong) == 27  # one trial shows no line
    many = [replace(one, batch_size=10 * one.batch_size) for one in trained]
    assert next_batch_size(many, wrong) == 27
