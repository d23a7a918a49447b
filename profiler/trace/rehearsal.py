"""Runs acted out at other batch sizes: how far the batch can grow before the memory ends.

How each request grows shows in two runs of one pattern: in a straight line. One run alone tells nearly as much: what is
kept and is no multiple of a batch size that is a prime, as no layer's width is, does not grow; all else grows in
proportion, tensors with a batch dimension exactly so, workspaces about.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence

from profiler.trace.simulation import peak_requested, simulate

_LEAST_TELLING = 11  # a smaller prime is a factor of many widths
_FURTHER, _LOOKS = 0.25, 50  # how far above an edge, in shares of it, and how often, to look for another


class Rehearsal:
    """The runs of one model at several batch sizes, each as the moves that `simulate` takes."""

    def __init__(self, unit: int = 1) -> None:
        """Know nothing yet; batch sizes are multiples of `unit`, and a prime is one of so many units."""
        self._unit = unit
        self._runs: dict[int, Sequence[int]] = {}
        self._fixed: set[int] = set()
        self._knows = False

    def add(self, batch_size: int, moves: Sequence[int]) -> None:
        """Add a run that came to its end."""
        sizes = _requested(moves)
        for other in self._runs.values():
            self._fixed |= sizes & _requested(other)
            self._knows = True
        if is_telling(batch_size // self._unit):
            self._fixed |= {size for size in _kept(moves) if size % batch_size}
            self._knows = True
        self._runs[batch_size] = moves

    def largest_that_fits(self, available_bytes: int, held_bytes: int | None = None) -> int | None:
        """Return the largest batch size that fits; ``None`` where the runs do not tell.

        Args:
            available_bytes: what CUDA gives at most.
            held_bytes: what the allocator may hold at most, though it could have more.
        """
        if not self._knows:
            return None
        batch_size, unit = max(self._runs), self._unit
        for _ in range(2):  # from the largest run, then from the one that is nearest to what that said
            found = unit * _highest(self._fits(batch_size, available_bytes, held_bytes), batch_size // unit)
            nearest = min(self._runs, key=lambda size: abs(size - found))
            if nearest == batch_size:
                break
            batch_size = nearest
        return found

    def _fits(self, batch_size: int, available_bytes: int, held_bytes: int | None) -> Callable[[int], bool]:
        grow = self._growth(batch_size)
        most = available_bytes if held_bytes is None else min(available_bytes, held_bytes)

        def fits(units: int) -> bool:
            moves = grow(units * self._unit)
            if peak_requested(moves) > most:  # true of nearly all the looks further up, at a tenth of the time
                return False
            run = simulate(moves, available_bytes)
            return run.fits and (held_bytes is None or run.peak_reserved_bytes <= held_bytes)

        return fits

    def _growth(self, batch_size: int) -> Callable[[int], list[int]]:
        """Return the moves at any batch size, as they follow from the run with `batch_size` and one like it."""
        moves = self._runs[batch_size]
        like = [size for size in self._runs if size != batch_size and _pattern(self._runs[size]) == _pattern(moves)]
        if not like:
            return lambda wanted: scaled(moves, batch_size, wanted, self._fixed)
        other = min(like, key=lambda size: abs(size - batch_size))
        return lambda wanted: extrapolated((batch_size, moves), (other, self._runs[other]), wanted)


def extrapolated(one: tuple[int, Sequence[int]], other: tuple[int, Sequence[int]], wanted: int) -> list[int]:
    """Return the moves of two runs of one pattern, each with its batch size, as they would be with `wanted`."""
    (size, moves), (other_size, other_moves) = one, other
    share = (wanted - size) / (size - other_size)
    return [
        first if first == second or first < 0 else max(0, round(first + (first - second) * share))
        for first, second in zip(moves, other_moves, strict=True)
    ]


def scaled(moves: Sequence[int], batch_size: int, wanted: int, fixed: Collection[int]) -> list[int]:
    """Return the moves of a run with `batch_size` samples as they would be with `wanted`; sizes in `fixed` stay."""
    return [move if move < 0 or move in fixed else round(move * wanted / batch_size) for move in moves]


def is_telling(number: int) -> bool:
    """Say whether `number` is a prime that is a factor of hardly any layer's width."""
    return number >= _LEAST_TELLING and all(number % factor for factor in range(2, math.isqrt(number) + 1))


def _pattern(moves: Sequence[int]) -> list[int]:
    """What is asked for and freed in which order, whatever the sizes."""
    return [min(move, 0) for move in moves]


def _requested(moves: Sequence[int]) -> set[int]:
    return {move for move in moves if move >= 0}


def _kept(moves: Sequence[int]) -> set[int]:
    """The sizes of the requests that nothing freed."""
    freed = {~move for move in moves if move < 0}
    requests = (move for move in moves if move >= 0)
    return {size for place, size in enumerate(requests) if place not in freed}


def _highest(holds: Callable[[int], bool], start: int) -> int:
    """The last number for which `holds`, as far as doubling from `start`, halving and a look further up can tell.

    The look is for a second edge: cut up otherwise, memory may do for a somewhat larger batch again.
    """
    low, high = 0, max(start, 1)
    while high < 1 << 40 and holds(high):
        low, high = high, 2 * high
    low = _last(holds, low, high)
    beyond = sorted({low + 1 + round(low * _FURTHER * place / _LOOKS) for place in range(_LOOKS)}, reverse=True)
    for place, number in enumerate(beyond):
        if holds(number):
            return _last(holds, number, beyond[place - 1] if place else 2 * number)
    return low


def _last(holds: Callable[[int], bool], low: int, high: int) -> int:
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
