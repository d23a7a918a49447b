"""The axes of a plot: bytes in one binary unit with round ticks, and batch sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from memprof.units import KIB, unit_of

_ROOM = 1.12  # above the highest value, for its label
_MOST_TICKS = 6
_LEAST_GAP = 0.12  # of the axis, between two labelled batch sizes
_LOG_FROM = 8  # the axis can be logarithmic if the largest batch size is at least this multiple of the smallest


@dataclass(frozen=True, kw_only=True)
class ByteAxis:
    """An axis from 0 to `top_bytes` whose ticks are round numbers of `unit`."""

    unit: str  # "MiB"
    unit_bytes: int
    top_bytes: int
    tick_bytes: tuple[int, ...]

    def number(self, value_bytes: int) -> str:
        """Return the label of a value, without the unit."""
        return f"{value_bytes / self.unit_bytes:,.6g}"


@dataclass(frozen=True, kw_only=True)
class BatchAxis:
    """An axis of batch sizes; `ticks` are those with a label."""

    logarithmic: bool
    ticks: tuple[int, ...]


def byte_axis(highest_bytes: int) -> ByteAxis:
    """Return the axis for values up to `highest_bytes`, with ticks at 1, 2 or 5 times a power of ten of its unit."""
    highest_bytes = max(highest_bytes, KIB)  # ticks below one byte would be meaningless
    unit, unit_bytes = unit_of(highest_bytes)
    top_bytes = math.ceil(highest_bytes * _ROOM)
    step = _round_step(top_bytes / unit_bytes / _MOST_TICKS)
    count = math.floor(top_bytes / unit_bytes / step)
    ticks = tuple(round(place * step * unit_bytes) for place in range(count + 1))
    return ByteAxis(unit=unit, unit_bytes=unit_bytes, top_bytes=top_bytes, tick_bytes=ticks)


def _round_step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is not below `least`."""
    power: float = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def _widest_gap(places: Sequence[float]) -> float:
    """The widest gap between neighbors, as a share of the whole range: small if they are evenly spaced."""
    gaps = [after - before for before, after in pairwise(places)]
    return max(gaps, default=0.0) / (sum(gaps) or 1.0)


def batch_axis(sizes: Sequence[int]) -> BatchAxis:
    """Return the axis for these batch sizes, in ascending order: logarithmic if they grow by factors."""
    by_factors = _widest_gap([math.log2(size) for size in sizes]) < _widest_gap(sizes)
    logarithmic = by_factors and sizes[-1] >= _LOG_FROM * sizes[0]
    places = [math.log2(size) if logarithmic else float(size) for size in sizes]
    apart = _LEAST_GAP * (places[-1] - places[0])
    ticks = [sizes[-1]]
    last = places[-1]
    for size, place in zip(reversed(sizes[:-1]), reversed(places[:-1]), strict=True):
        if last - place >= apart:
            ticks.append(size)
            last = place
    return BatchAxis(logarithmic=logarithmic, ticks=tuple(reversed(ticks)))
