"""Predict how far the batch can grow before memory ends, from the recorded requests of a few runs.

The requests are scaled to another batch size (`growth`) and served by a simulated allocator (`simulator`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from memprof.allocator.address_order import AddressPolicy
from memprof.allocator.growth import Growth, RecordedRun, extrapolated, has_pattern_of, is_informative, scaled
from memprof.allocator.simulator import peak_requested, simulate

_UNBOUNDED = 1 << 40  # a batch size beyond any memory
# About a tenth of a second of simulation in CPython, for each of the spans of `_largest`.
_REQUESTS_PER_SPAN = 100_000
_FEWEST_LOOKS, _MOST_LOOKS = 16, 1024
_NEARLY_ALL = 0.4  # of the requests of a run: the steps after the second one repeat those before
_NARROWER = 8  # how much smaller each span is than the one before: fits in islands, see `_largest`
_HELD_TOLERANCE = 0.005  # of the batch size, with `held_bytes`


@dataclass(frozen=True, kw_only=True)
class AllocatorBudget:
    """What the allocator may have: `available_bytes` is all that CUDA gives.

    With `held_bytes`, a run fits only if the allocator never holds more than that, though it could have more.
    """

    available_bytes: int
    held_bytes: int | None = None

    @property
    def most_bytes(self) -> int:
        """The most that may be in use at a time."""
        return self.available_bytes if self.held_bytes is None else min(self.available_bytes, self.held_bytes)


class BatchExtrapolator:
    """The recorded runs of one model at several batch sizes, and what they predict at others."""

    def __init__(self, unit: int = 1, addresses: AddressPolicy = AddressPolicy.ASCENDING) -> None:
        """Start without runs. Batch sizes are multiples of `unit`; a prime is a prime number of units.

        `addresses` goes to `simulate`; `address_order_for` returns the one of a version of PyTorch.
        """
        self._unit, self._addresses = unit, addresses
        self._runs: dict[int, RecordedRun] = {}
        self._fixed: set[int] = set()
        self._growths: dict[int, Growth] = {}  # by the batch size of the run, until there is another run
        self.is_informed = False  # the runs show what grows with the batch

    def add(self, run: RecordedRun) -> None:
        """Add a run to predict from. It takes the place of one with the same batch size."""
        self._runs.pop(run.batch_size, None)
        for other in self._runs.values():
            self._fixed |= self._common_sizes(run, other)
            self.is_informed = True
        if is_informative(run.batch_size // self._unit):
            self._fixed |= run.batch_independent_sizes
            self.is_informed = True
        self._runs[run.batch_size] = run
        self._growths.clear()

    def _common_sizes(self, run: RecordedRun, other: RecordedRun) -> set[int]:
        """The sizes that do not depend on the batch. With few samples, tensors of two batches may have one size."""
        common = set(run.sizes) & set(other.sizes)
        if any(is_informative(one.batch_size // self._unit) for one in (run, other)):
            return common
        return common & run.kept_sizes & other.kept_sizes

    def __iter__(self) -> Iterator[RecordedRun]:
        """Iterate over the runs."""
        return iter(self._runs.values())

    def largest_that_fits(self, budget: AllocatorBudget, above: int = 0, below: int | None = None) -> int | None:
        """Return the largest batch size predicted to fit; ``None`` if the runs do not show what grows.

        With `held_bytes` it is the largest to within 0.5 %: the bytes that a run holds do not grow evenly.

        Args:
            budget: the memory that there is.
            above: a batch size that fits, and the answer if no larger one does.
            below: a batch size that does not fit; larger ones are not considered.
        """
        if not self.is_informed:
            return None
        low = above // self._unit
        high = self._first_too_large(budget, max(low, 1)) if below is None else below // self._unit
        looks = _REQUESTS_PER_SPAN // max(len(run.requests) for run in self._runs.values())
        looks = min(max(looks, _FEWEST_LOOKS), _MOST_LOOKS)

        def fits(units: int) -> bool:
            batch_size = units * self._unit
            return self._fits_from(self._nearest(batch_size), batch_size, budget)

        if budget.held_bytes is not None:
            return self._unit * _halved(fits, low, high, _HELD_TOLERANCE)
        return self._unit * _largest(fits, low, high, looks)

    def fits_from(self, recorded: int, batch_size: int, budget: AllocatorBudget) -> bool:
        """Say whether the run that was recorded at the batch size `recorded`, if any, would fit with `batch_size`."""
        return recorded in self._runs and self._fits_from(recorded, batch_size, budget)

    def knows_the_end(self, batch_size: int) -> bool:
        """Say whether a run is known to the end that has the pattern of the one recorded at `batch_size`."""
        run = self._runs.get(batch_size)
        if run is None:
            return True
        whole = [other for other in self._runs.values() if other.complete]
        return any(
            has_pattern_of(other, run) or len(run.requests) >= _NEARLY_ALL * len(other.requests) for other in whole
        )

    def recorded(self, batch_size: int) -> RecordedRun | None:
        """Return the run with this batch size, if there is one."""
        return self._runs.get(batch_size)

    def _first_too_large(self, budget: AllocatorBudget, start: int) -> int:
        """The smallest number of units whose bytes in use rule it out, in a tenth of the time of a simulation."""

        def may_fit(units: int) -> bool:
            batch_size = units * self._unit
            growth = self._growth(self._nearest(batch_size))
            return peak_requested(growth.at(batch_size), growth.optional) <= budget.most_bytes

        low, high = start, 2 * start
        while high < _UNBOUNDED and may_fit(high):
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if may_fit(middle) else (low, middle)
        return high

    def _fits_from(self, recorded: int, batch_size: int, budget: AllocatorBudget) -> bool:
        growth = self._growth(recorded)
        requests = growth.at(batch_size)
        if peak_requested(requests, growth.optional) > budget.most_bytes:
            return False
        simulated = simulate(requests, budget.available_bytes, addresses=self._addresses, optional=growth.optional)
        return simulated.fits and (budget.held_bytes is None or simulated.peak_reserved_bytes <= budget.held_bytes)

    def _nearest(self, batch_size: int) -> int:
        """The size of the nearest run; one that was cut off counts only if a run to its end has its pattern."""
        whole = [size for size in self._runs if self.knows_the_end(size)]
        return min(whole or self._runs, key=lambda size: abs(size - batch_size))

    def _growth(self, recorded: int) -> Growth:
        """How the run recorded at this batch size grows, with the help of the nearest run of the same pattern."""
        if recorded not in self._growths:
            run = self._runs[recorded]
            alike = [other for other in self._runs.values() if other is not run and has_pattern_of(run, other)]
            other = min(alike, key=lambda other: abs(other.batch_size - recorded), default=None)
            self._growths[recorded] = (
                scaled(run, self._fixed) if other is None else extrapolated(run, other, self._fixed)
            )
        return self._growths[recorded]


def _largest(fits: Callable[[int], bool], low: int, high: int, looks: int) -> int:
    """Return the largest number found between `low` and `high` that `fits`, else `low`.

    Near the limit, sizes that fit alternate with sizes that do not, in islands: a segment is a multiple of 2 MiB, and
    another size leaves other gaps. So halving would stop at any of their ends. Instead, spans above `low` are looked
    through from the top, each narrower and closer than the one before.
    """
    span = high - 1 - low
    while span > 0:
        step = max(1, span // looks)
        found = next((number for number in range(min(low + span, high - 1), low, -step) if fits(number)), low)
        low, span = found, span // _NARROWER
    return low


def _halved(fits: Callable[[int], bool], low: int, high: int, tolerance: float) -> int:
    """Return a number that `fits`, or `low`, such that one larger by `tolerance`, or by 1, does not."""
    while high - low > max(1, tolerance * low):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
