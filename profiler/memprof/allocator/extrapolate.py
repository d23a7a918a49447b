"""Runs acted out at other batch sizes: how far the batch can grow before the memory ends.

How each request grows shows in two runs of one pattern: in a straight line. One run alone tells nearly as much: what is
kept and is no multiple of a batch size that is a prime, as no layer's width is, does not grow; all else grows in
proportion, tensors with a batch dimension exactly so, workspaces about.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from memprof.allocator.address_order import AddressPolicy
from memprof.allocator.simulator import peak_requested, simulate

_LEAST_TELLING = 11  # a smaller prime is a factor of many widths
_APART, _LOOKS = 0.005, 50  # how far apart, in shares of an edge, and how often, to look above it for another
_LOOKS_AGAIN = 6  # where runs that were fewer have been looked at so before


class BatchExtrapolator:
    """The runs of one model at several batch sizes, each as the requests that `simulate` takes."""

    def __init__(self, unit: int = 1, addresses: AddressPolicy = AddressPolicy.ASCENDING) -> None:
        """Know nothing yet; batch sizes are multiples of `unit`, and a prime is one of so many units.

        `addresses`: as `simulate` takes it; `address_order_for` tells which one acts out a PyTorch.
        """
        self._unit, self._addresses = unit, addresses
        self._runs: dict[int, Sequence[int]] = {}
        self._fixed: set[int] = set()
        self._knows = False

    def add(self, batch_size: int, requests: Sequence[int]) -> None:
        """Add a run that came to its end."""
        sizes = _requested(requests)
        for other in self._runs.values():
            self._fixed |= sizes & _requested(other)
            self._knows = True
        if is_informative(batch_size // self._unit):
            self._fixed |= {size for size in _kept(requests) if size % batch_size}
            self._knows = True
        self._runs[batch_size] = requests

    def largest_that_fits(
        self, available_bytes: int, held_bytes: int | None = None, near: int | None = None
    ) -> int | None:
        """Return the largest batch size that fits; ``None`` where the runs do not tell.

        Args:
            available_bytes: what CUDA gives at most.
            held_bytes: what the allocator may hold at most, though it could have more.
            near: what was said before the last runs came; it is begun with, and the look further up is a short one.
        """
        if not self._knows:
            return None
        unit = self._unit
        batch_size = self._nearest(near) if near else max(self._runs)
        start = max((near or batch_size) // unit, 1)
        step = _small_step(start) if near else start
        # With all the memory there is, most of the looks are ruled out at once.
        looks = _LOOKS if not near or held_bytes is None else _LOOKS_AGAIN
        for _ in range(2):  # from one run, then from the one that is nearest to what that said
            question = self._question(batch_size, available_bytes, held_bytes)
            units = _highest(question, start, step, looks)
            nearest = self._nearest(units * unit)
            if nearest == batch_size:
                break
            batch_size, start = nearest, max(units, 1)
            step = _small_step(start)
        return units * unit

    def _nearest(self, wanted: int) -> int:
        return min(self._runs, key=lambda size: abs(size - wanted))

    def _question(self, batch_size: int, available_bytes: int, held_bytes: int | None) -> _Question:
        grow, unit = self._growth(batch_size), self._unit
        return _Question(
            requests_at=lambda units: grow(units * unit),
            available_bytes=available_bytes,
            held_bytes=held_bytes,
            addresses=self._addresses,
        )

    def _growth(self, batch_size: int) -> Callable[[int], list[int]]:
        """Return the requests at any batch size, as they follow from the run with `batch_size` and one like it."""
        requests = self._runs[batch_size]
        like = [size for size in self._runs if size != batch_size and _pattern(self._runs[size]) == _pattern(requests)]
        if not like:
            return lambda wanted: scaled(requests, batch_size, wanted, self._fixed)
        other = min(like, key=lambda size: abs(size - batch_size))
        return lambda wanted: extrapolated((batch_size, requests), (other, self._runs[other]), wanted)


def extrapolated(one: tuple[int, Sequence[int]], other: tuple[int, Sequence[int]], wanted: int) -> list[int]:
    """Return the requests of two runs of one pattern, each with its batch size, as they would be with `wanted`."""
    (size, requests), (other_size, other_requests) = one, other
    share = (wanted - size) / (size - other_size)
    return [
        first if first == second or first < 0 else max(0, round(first + (first - second) * share))
        for first, second in zip(requests, other_requests, strict=True)
    ]


def scaled(requests: Sequence[int], batch_size: int, wanted: int, fixed: Collection[int]) -> list[int]:
    """Return the requests of a run with `batch_size` samples as they would be with `wanted`; sizes in `fixed` stay."""
    return [move if move < 0 or move in fixed else round(move * wanted / batch_size) for move in requests]


def is_informative(number: int) -> bool:
    """Say whether `number` is a prime that is a factor of hardly any layer's width."""
    return number >= _LEAST_TELLING and all(number % factor for factor in range(2, math.isqrt(number) + 1))


def _pattern(requests: Sequence[int]) -> list[int]:
    """What is asked for and freed in which order, whatever the sizes."""
    return [min(move, 0) for move in requests]


def _requested(requests: Sequence[int]) -> set[int]:
    return {move for move in requests if move >= 0}


def _kept(requests: Sequence[int]) -> set[int]:
    """The sizes of the requests that nothing freed."""
    freed = {~move for move in requests if move < 0}
    sizes = (move for move in requests if move >= 0)
    return {size for place, size in enumerate(sizes) if place not in freed}


@dataclass(frozen=True, kw_only=True)
class _Question:
    """Whether so many units fit."""

    requests_at: Callable[[int], list[int]]
    available_bytes: int
    held_bytes: int | None
    addresses: AddressPolicy

    def fits(self, units: int) -> bool:
        requests = self.requests_at(units)
        if not self._may_fit(requests):
            return False
        run = simulate(requests, self.available_bytes, addresses=self.addresses)
        return run.fits and (self.held_bytes is None or run.peak_reserved_bytes <= self.held_bytes)

    def may_fit(self, units: int) -> bool:
        """Whether what is in use at a time does not rule it out, which takes a tenth of the time that `fits` does."""
        return self._may_fit(self.requests_at(units))

    def _may_fit(self, requests: Sequence[int]) -> bool:
        most = self.available_bytes if self.held_bytes is None else min(self.available_bytes, self.held_bytes)
        return peak_requested(requests) <= most


def _highest(question: _Question, start: int, step: int, looks: int) -> int:
    """The last number that fits, as far as steps from `start` that double, halving and a look further up can tell.

    The look is for a second edge: cut up otherwise, memory may do for a somewhat larger batch again.
    """
    low = _last(question.fits, *_around(question.fits, start, step))
    beyond = sorted({low + 1 + round(low * _APART * place) for place in range(looks)})
    end = bisect_left(beyond, True, key=lambda number: not question.may_fit(number))  # more needs more
    for place in reversed(range(end)):
        if question.fits(beyond[place]):
            above = beyond[place + 1] if place + 1 < len(beyond) else 2 * beyond[place]
            return _last(question.fits, beyond[place], above)
    return low


def _around(holds: Callable[[int], bool], start: int, step: int) -> tuple[int, int]:
    """A number for which `holds`, or 0, and one above it for which not."""
    if not holds(start):
        high = start
        while high > step and not holds(high - step):
            high, step = high - step, 2 * step
        return max(high - step, 0), high
    low = start
    while low < 1 << 40 and holds(low + step):
        low, step = low + step, 2 * step
    return low, low + step


def _small_step(start: int) -> int:
    """A hundredth: about as far as what one run says is from what the next one does."""
    return max(start // 100, 1)


def _last(holds: Callable[[int], bool], low: int, high: int) -> int:
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
