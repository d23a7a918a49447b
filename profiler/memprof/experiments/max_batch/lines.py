"""Straight lines through the trials: memory grows with the batch size, in each phase along a line of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence

from memprof.experiments.max_batch.boundary import TrialFigures

Point = tuple[int, int]  # a batch size and bytes

# The slope is taken from a batch at most this share of the largest: nearer points differ by rounding to segments.
_WELL_BELOW = 0.7


def fit_line(points: Sequence[Point]) -> tuple[float, float, float] | None:
    """Return intercept, slope and largest deviation of the least-squares line, ``None`` for fewer than two points."""
    count = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / max(count, 1), sum(y for _, y in points) / max(count, 1)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if not spread:
        return None
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    intercept = mean_y - slope * mean_x
    return intercept, slope, max(abs(y - intercept - slope * x) for x, y in points)


def upper_limit(trained: Sequence[TrialFigures], available_bytes: int) -> float:
    """Return the batch size at which the first of the needs takes all memory; infinite if no line shows one."""
    names = {name for sample in trained for name in sample.needs_bytes}
    lines = [[(s.batch_size, s.needs_bytes[name]) for s in trained if name in s.needs_bytes] for name in names]
    return min((_reaches(line, available_bytes) for line in lines), default=math.inf)


def lower_limit(trained: Sequence[TrialFigures], available_bytes: int) -> float:
    """Return the batch size at which the allocator holds all memory: short of memory it does with less."""
    return _reaches([(s.batch_size, s.held_bytes) for s in trained if s.held_bytes is not None], available_bytes)


def _reaches(points: Sequence[Point], available_bytes: int) -> float:
    """The batch size at which the line through the largest batch and one well below it reaches `available_bytes`."""
    if len(points) < 2:
        return math.inf
    last_x, last_y = points[-1]
    well_below = [point for point in points[:-1] if point[0] <= _WELL_BELOW * last_x]
    first_x, first_y = well_below[-1] if well_below else points[0]
    slope = (last_y - first_y) / (last_x - first_x)
    return last_x + max(0.0, (available_bytes - last_y) / slope) if slope > 0 else math.inf
