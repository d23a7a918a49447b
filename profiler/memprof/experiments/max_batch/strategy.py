"""Where to try next for the largest batch that trains: a pure function of the trials so far.

What a step needs grows in nearly straight lines with the batch, a line for each phase, so two or three small batches
say where memory ends. The lines of what is allocated give a bound from above: the allocator loses some memory in
half-used segments. The line of what is reserved gives one from below: short of memory, the allocator gives its cached
segments back and does with less. Better than both is a rehearsal, which acts out by the allocator's own rules what a
try asked for: where there is one, it names the edge. Halving takes over where all of them mislead, so the search always
ends at two neighbours of which the smaller trains and the larger does not. With little memory there can be several such
edges, since PyTorch's allocator takes segments of 20 MiB for 1 to 10 MiB and exact ones above.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_GROWTH = 8  # from a batch that trains to the next, while nothing better is known
_LEAP = 0.9  # of the predicted edge: near enough to mend the prediction, far enough to train
_NEAR = 0.8  # of the predicted edge: from here on no leap is needed
_MUCH_LEFT = 1.1  # times the batch that failed: so far off, it is worth a look whether more trains again
_SAME, _REHEARSALS = 0.99, 3  # so near to the edge so many rehearsals have their chance
_LOST = 0.012  # of the memory: what half-used segments cost ResNet-50 on three cards, about


@dataclass(frozen=True, kw_only=True)
class TrialFigures:
    """One try: `needs_bytes` were in use at its peaks (by name; each must stay below the memory there is), and
    `held_bytes` were held for all of them. Both are of a run to the end, also where that is a failure by what it held.
    """

    batch_size: int
    trains: bool
    needs_bytes: Mapping[str, int] = field(default_factory=dict)
    held_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What the search may do: batch sizes from `multiple_of` up to `most`, all multiples, the first one `start`."""

    available_bytes: int
    start: int = 1
    most: int | None = None
    multiple_of: int = 1
    rehearsed: int | None = None  # the largest batch that trains, by acting out what the trials asked of the allocator
    guided_tries: int = 8  # after so many the lines have had their chance, and halving ends the search


@dataclass(frozen=True, kw_only=True)
class BatchBoundary:
    """What the trials prove: the largest batch that trains and the smallest above it that does not."""

    trains: int  # 0: none did
    fails: int | None  # None: none did not


def find_boundary(samples: Sequence[TrialFigures]) -> BatchBoundary:
    """Return the edge so far: above the largest batch that trained, whatever failed below it."""
    trains = max((sample.batch_size for sample in samples if sample.trains), default=0)
    fails = [sample.batch_size for sample in samples if not sample.trains and sample.batch_size > trains]
    return BatchBoundary(trains=trains, fails=min(fails, default=None))


def next_batch_size(samples: Sequence[TrialFigures], bounds: Bounds) -> int | None:
    """Return the batch size to try next, or ``None`` where the edge is verified or a bound is reached."""
    unit, edge = bounds.multiple_of, find_boundary(samples)
    most = None if bounds.most is None else bounds.most // unit
    if not samples:
        first = -(-bounds.start // unit)
        return unit * (first if most is None else min(first, most))
    low, high = edge.trains // unit, None if edge.fails is None else edge.fails // unit
    if high is None and most is not None and low >= most:
        return None
    if high is not None and high - low <= 1:
        return _beyond(samples, bounds, edge)
    guess = _guess(samples, bounds, edge) if len(samples) < bounds.guided_tries else _unguided(samples, bounds, edge)
    top = high - 1 if high is not None else most
    return unit * max(low + 1, guess if top is None else min(guess, top))


def fit_line(points: Sequence[tuple[int, int]]) -> tuple[float, float, float] | None:
    """Return intercept, slope and the largest deviation of the least-squares line, or ``None`` for one point alone."""
    count = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / max(count, 1), sum(y for _, y in points) / max(count, 1)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if not spread:
        return None
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    intercept = mean_y - slope * mean_x
    return intercept, slope, max(abs(y - intercept - slope * x) for x, y in points)


def _beyond(samples: Sequence[TrialFigures], bounds: Bounds, edge: BatchBoundary) -> int | None:
    """A batch size above an edge that much memory was left at: a larger batch may cut it up better, and train."""
    unit, fails = bounds.multiple_of, edge.fails or 0
    trained = sorted((s for s in samples if s.trains), key=lambda sample: sample.batch_size)
    upper = _upper_bound(trained, bounds.available_bytes)
    above = [sample.batch_size for sample in samples if sample.batch_size > fails]
    end = min([upper, *above] if bounds.most is None else [upper, *above, bounds.most + 1])
    if not edge.trains or math.isinf(upper) or end <= _MUCH_LEFT * fails:
        return None
    if bounds.rehearsed is not None and bounds.rehearsed <= edge.trains:  # which looked further up itself
        return None
    size = math.floor((fails + end) / 2 / unit) * unit
    return size if fails < size < end else None


def _guess(samples: Sequence[TrialFigures], bounds: Bounds, edge: BatchBoundary) -> int:
    """A batch size in units of `multiple_of`, not yet kept within the edge."""
    unit = bounds.multiple_of
    low, high = edge.trains // unit, None if edge.fails is None else edge.fails // unit
    if low and bounds.rehearsed is not None:
        return _rehearsed(samples, bounds, low, high)
    if (between := _between(samples, bounds, edge)) is not None:
        return between
    trained = sorted((s for s in samples if s.trains), key=lambda sample: sample.batch_size)
    upper = _upper_bound(trained, bounds.available_bytes) / unit
    if math.isinf(upper):
        return low * _GROWTH if high is None and low else _halve(low, high)
    if low < _NEAR * upper:
        leap = math.floor(_LEAP * upper)
        return leap if high is None or leap < _LEAP * high else _halve(low, high)
    held = [(s.batch_size, s.held_bytes) for s in trained if s.held_bytes is not None]
    return _near(low, high, (_edge_of(held, bounds.available_bytes) / unit, upper))


def _rehearsed(samples: Sequence[TrialFigures], bounds: Bounds, low: int, high: int | None) -> int:
    """What was expected to train; where that failed, a little below, and further below with each failure more.

    Where more trains than was expected, again and again, the steps up become longer too.
    """
    unit = bounds.multiple_of
    expected = (bounds.rehearsed or 0) // unit
    surprises = sum(s.trains and s.batch_size >= _SAME * low * unit for s in samples) - _REHEARSALS
    if expected <= low and surprises > 0:
        return low + 2**surprises if high is None else _halve(low, high)
    if high is None or expected < high:
        return max(expected, low + 1)
    failed = sum(not s.trains and s.batch_size <= _MUCH_LEFT * high * unit for s in samples)
    below = high - 2 ** (failed - 1)
    return below if below > low else _halve(low, high)


def _between(samples: Sequence[TrialFigures], bounds: Bounds, edge: BatchBoundary) -> int | None:
    """Where the line between the two sides of the edge crosses the memory, if the one that fails ran to its end."""
    held = {sample.batch_size: sample.held_bytes for sample in samples}
    below, above = held.get(edge.trains), held.get(edge.fails or 0)
    if below is None or above is None or edge.fails is None or above <= below:
        return None
    share = (bounds.available_bytes - below) / (above - below)
    return math.floor((edge.trains + share * (edge.fails - edge.trains)) / bounds.multiple_of)


def _near(low: int, high: int | None, between: tuple[float, float]) -> int:
    lower, upper = min(between), between[1]
    top = math.floor(upper) + 1 if high is None else min(high, math.floor(upper) + 1)
    first = math.floor(upper - min(_LOST * upper, upper - lower))
    if low < first < top:
        return first
    if top - low <= 1:
        return low + 1
    floor = max(low, math.floor(lower) - 1)
    return (floor + top) // 2 if floor < top else (low + top) // 2


def _unguided(samples: Sequence[TrialFigures], bounds: Bounds, edge: BatchBoundary) -> int:
    """Halving; where nothing has failed yet, the size at which the lines say that something must, if there is one."""
    unit = bounds.multiple_of
    low, high = edge.trains // unit, None if edge.fails is None else edge.fails // unit
    upper = _upper_bound(sorted((s for s in samples if s.trains), key=lambda s: s.batch_size), bounds.available_bytes)
    if high is None and low and low < upper / unit < 2 * low:
        return math.floor(upper / unit) + 1
    return _halve(low, high)


def _halve(low: int, high: int | None) -> int:
    if high is None:
        return 2 * low
    # From afar the middle between the exponents, since growth may be of any size.
    return high // _GROWTH if not low else math.isqrt(low * high) if high > 4 * low else (low + high) // 2


def _upper_bound(trained: Sequence[TrialFigures], available_bytes: int) -> float:
    """The batch size at which the first of the needs takes all memory."""
    names = {name for sample in trained for name in sample.needs_bytes}
    lines = [[(s.batch_size, s.needs_bytes[name]) for s in trained if name in s.needs_bytes] for name in names]
    return min((_edge_of(line, available_bytes) for line in lines), default=math.inf)


def _edge_of(points: Sequence[tuple[int, int]], available_bytes: int) -> float:
    """Where the line through the largest batch and one well below it reaches `available_bytes`."""
    if len(points) < 2:
        return math.inf
    last_x, last_y = points[-1]
    well_below = [point for point in points[:-1] if point[0] <= 0.7 * last_x]
    first_x, first_y = well_below[-1] if well_below else points[0]
    slope = (last_y - first_y) / (last_x - first_x)
    return last_x + max(0.0, (available_bytes - last_y) / slope) if slope > 0 else math.inf
