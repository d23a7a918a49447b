"""Predictions of the largest batch from recorded runs: exact for tensors and plain workspaces."""

from __future__ import annotations

import pytest

from memprof.allocator.extrapolate import AllocatorBudget, BatchExtrapolator
from memprof.allocator.growth import RecordedRun
from memprof.allocator.simulator import simulate
from memprof.units import GIB, MIB

WEIGHTS = [64 * 3 * 7 * 7 * 4, 512 * 512 * 9 * 4, 2048 * 1000 * 4, 4000]
SAMPLE = [150_528 * 4, 64 * 112 * 112 * 4, 512 * 7 * 7 * 4]


def two_steps(batch_size: int, workspace_bytes: int = 0) -> RecordedRun:
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
    return RecordedRun(batch_size=batch_size, requests=requests)


def one_step(batch_size: int, available_bytes: int) -> RecordedRun:
    """A convolution whose workspace of 3 MiB a sample is refused if memory is short; then its output of 2 MiB."""
    refused = simulate([4000, 2 * MIB * batch_size, 3 * MIB * batch_size + 8], available_bytes).fits is False
    requests = [4000, 2 * MIB * batch_size, 3 * MIB * batch_size + 8, ~2, 2 * MIB * batch_size]
    complete = simulate(requests, available_bytes, optional=(2,)).fits
    return RecordedRun(
        batch_size=batch_size, requests=requests, refused=frozenset([2] if refused else []), complete=complete
    )


def largest_by_simulation(available_bytes: int, workspace_bytes: int = 0) -> int:
    size = 1
    while simulate(two_steps(size + 1, workspace_bytes).requests, available_bytes).fits:
        size += 1
    return size


def extrapolator(*runs: RecordedRun, unit: int = 1) -> BatchExtrapolator:
    found = BatchExtrapolator(unit)
    for run in runs:
        found.add(run)
    return found


def available(size: int, held_bytes: int | None = None) -> AllocatorBudget:
    return AllocatorBudget(available_bytes=size, held_bytes=held_bytes)


@pytest.mark.parametrize("available_bytes", [GIB, 3 * GIB + 12345, 7 * GIB])
def test_extrapolator_one_prime_run_is_exact_for_tensors(available_bytes: int) -> None:
    found = extrapolator(two_steps(37)).largest_that_fits(available(available_bytes))
    assert found == largest_by_simulation(available_bytes)


def test_extrapolator_two_runs_are_exact_for_workspaces() -> None:
    one, other = (two_steps(size, workspace_bytes=9 * MIB) for size in (37, 300))
    wanted = largest_by_simulation(3 * GIB, workspace_bytes=9 * MIB)
    assert extrapolator(one).largest_that_fits(available(3 * GIB)) != wanted
    assert extrapolator(one, other).largest_that_fits(available(3 * GIB)) == wanted


def test_extrapolator_one_run_that_is_no_prime_is_unknown() -> None:
    found = extrapolator(two_steps(64))
    assert not found.is_informed
    assert found.largest_that_fits(available(GIB)) is None


def test_extrapolator_prime_is_counted_in_units() -> None:
    found = extrapolator(two_steps(8 * 13), unit=8).largest_that_fits(available(3 * GIB))
    assert found == largest_by_simulation(3 * GIB) // 8 * 8


def test_extrapolator_held_bytes_bound_the_reserved_memory() -> None:
    found = extrapolator(two_steps(37)).largest_that_fits(available(8 * GIB, held_bytes=2 * GIB))
    assert found is not None
    assert simulate(two_steps(found).requests, 8 * GIB).peak_reserved_bytes <= 2 * GIB
    assert simulate(two_steps(found + 1).requests, 8 * GIB).peak_reserved_bytes > 2 * GIB


def test_extrapolator_stays_between_above_and_below() -> None:
    runs, wanted = extrapolator(two_steps(37)), largest_by_simulation(3 * GIB)
    assert runs.largest_that_fits(available(3 * GIB), above=wanted - 9, below=wanted + 9) == wanted
    assert runs.largest_that_fits(available(3 * GIB), above=37, below=wanted - 9) == wanted - 10
    assert runs.largest_that_fits(available(3 * GIB), above=wanted + 5, below=wanted + 20) == wanted + 5


def test_extrapolator_expects_no_refused_workspace_to_be_needed() -> None:
    runs = extrapolator(one_step(37, GIB))
    found = runs.largest_that_fits(available(GIB))
    assert found is not None
    assert one_step(found, GIB).complete
    assert 2 in one_step(found, GIB).refused
    assert not one_step(found + 1, GIB).complete


def test_extrapolator_failed_run_shows_how_far_to_go_back() -> None:
    failed = two_steps(809)
    end = next(end for end in range(1, 99) if not simulate(failed.requests[:end], 3 * GIB).fits)
    cut = RecordedRun(batch_size=809, requests=failed.requests[:end], complete=False)
    wanted = largest_by_simulation(3 * GIB)
    alone = extrapolator(cut).largest_that_fits(available(3 * GIB), below=809)
    assert alone is not None
    assert wanted < alone < 809  # what would have come after the failure is missing
    assert extrapolator(two_steps(37), cut).largest_that_fits(available(3 * GIB), below=809) == wanted


def test_extrapolator_fits_from_uses_the_named_run() -> None:
    runs = extrapolator(two_steps(37), two_steps(301, workspace_bytes=GIB))
    assert runs.fits_from(37, 300, available(2 * GIB))
    assert not runs.fits_from(301, 300, available(2 * GIB))
    assert not runs.fits_from(5, 300, available(2 * GIB))


def test_run_cut_off_counts_only_if_its_end_is_known() -> None:
    whole = two_steps(13)
    cut_off = RecordedRun(batch_size=1000, requests=two_steps(1000).requests[:9], complete=False)
    other = RecordedRun(batch_size=900, requests=[*two_steps(900).requests[:4], ~3, 4, 4, 4], complete=False)
    runs = extrapolator(whole, cut_off, other)
    assert [runs.knows_the_end(size) for size in (13, 1000, 900, 7)] == [True, True, False, True]
    assert (runs._nearest(990), runs._nearest(910)) == (1000, 1000)
    assert extrapolator(other)._nearest(5) == 900


def test_tensors_of_two_small_batches_with_one_size_still_grow() -> None:
    def halving(batch_size: int, *, extra: bool) -> RecordedRun:
        """Two kept weights, and activations that halve; the larger batch makes one request more."""
        kept = [3000, 5000]
        sizes = [batch_size * (MIB << place) for place in range(6, -1, -1)] + [7000] * extra
        frees = [~(len(kept) + place) for place in range(len(sizes))]
        return RecordedRun(batch_size=batch_size, requests=[*kept, *sizes, *frees])

    one, two = halving(1, extra=False), halving(2, extra=True)
    assert len(set(one.sizes) & set(two.sizes)) > len(one.kept_sizes)
    found = extrapolator(one, two).largest_that_fits(available(GIB))
    size = 2
    while simulate(halving(size + 1, extra=True).requests, GIB).fits:
        size += 1
    assert found == size
