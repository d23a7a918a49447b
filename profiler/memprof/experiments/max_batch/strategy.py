"""Choose the batch size of the next trial: a pure function of the trials so far.

A search ends with a boundary: N trains, and N + 1 (the next multiple) fails. The first row of the table that applies
gives the next batch size. `low` is the largest batch that trains and `high` the smallest above it that fails; the next
batch size is kept between them.

| if | then try | strategy |
| --- | --- | --- |
| there is no trial | the start | |
| they are neighbours, but the lines reach the memory far above | the middle of `high` and there | `_beyond` |
| they are neighbours, or `low` is the largest allowed | nothing: the search is over | |
| every trial failed for another reason than memory | the smallest batch | `smallest_after_errors` |
| `high` failed for another reason than memory | where 32-bit indices end, else the middle | `below_an_error` |
| the guided trials are used up, or every other one if `low` is new | the middle of both | `halve_at_the_end` |
| `high` is a multiple of 4, and by the replay of `low` one less fits | one less | `one_below_a_multiple` |
| `high` was cut off, and `low` has another pattern | a share of `high`, mostly 80 % | `below_another_pattern` |
| the replay of the trials' requests predicts a limit | that, or one more if it is `low` | `predicted` |
| `high` ran to its end, holding too much | where the line between both sides crosses the memory | `between_sides` |
| no line shows an upper limit | 8 times `low`, twice an estimated start, or the middle | `grow` |
| `low` is far below the upper limit | 90 % of that limit | `leap` |
| otherwise | between what the lines of allocated and of reserved memory say | `near_the_lines` |

Why these rows: a step's memory grows in nearly straight lines with the batch, a line for each phase, so two or three
small batches show where memory ends. The lines of allocated memory give an upper bound, since the allocator loses some
memory in half-used segments. The line of reserved memory gives a lower bound, since the allocator frees its cached
segments when memory is short. A replay by the allocator's own rules is better than both. Halving always ends the
search. With little memory there can be several boundaries: PyTorch's allocator takes segments of 20 MiB for requests of
1 to 10 MiB, and segments of the exact size above.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from memprof.allocator.growth import SMALLEST_INFORMATIVE
from memprof.experiments.max_batch.boundary import TrialFigures
from memprof.experiments.max_batch.lines import lower_limit, upper_limit
from memprof.experiments.max_batch.situation import Bounds, Situation, StartOrigin

Strategy = Callable[[Situation], int | None]

_GROWTH = 8  # times a batch that trains, while nothing is known: three trials reach 512
_FROM_ESTIMATE = 2  # times an estimated start that trains: it was half of what fits by the estimate
_LEAP = 0.9  # of the upper limit: near enough to correct the lines, far enough below to train
_NEAR = 0.8  # of the upper limit: from here on the lines are exact enough without a leap
_MUCH_LEFT = 1.1  # times the batch that failed: a limit so far above it is worth a trial
_SAME = 0.99  # of `low`: trials so near to it were predictions of one limit
_PREDICTIONS = 3  # as many predictions of one limit may be too low before the steps get longer
_FAR_BELOW = 0.6  # of the batch that failed: nearer runs have its plans, as the trials of the shipped configs show
_COMPLETE = 0.8  # of the batch that failed: the prediction of another plan was hardly ever so far off
_WITHOUT_ANY = 0.5  # of it if nothing has trained yet: the start was then about twice what fits, as for Llama
_PREDICTED = 0.95  # of it if another GPU's runs predicted the start: it was then hardly too large
_LOST = 0.012  # of the memory, about: what half-used segments took of ResNet-50 on three GPUs
# cuDNN plans convolutions in another way if the batch is a multiple of this: seen in float32 on an A100 (cuDNN 9.24),
# where the workspace of a layer was there for all multiples of 4 and missing for all other sizes.
_ALIGNED = 4


def next_batch_size(samples: Sequence[TrialFigures], bounds: Bounds) -> int | None:
    """Return the batch size to try next, or ``None`` if the boundary is verified or a bound is reached."""
    situation, unit = Situation(samples=samples, bounds=bounds), bounds.multiple_of
    low, high, most = situation.low, situation.high, situation.most
    if not samples:
        first = -(-bounds.start // unit)
        return unit * (first if most is None else min(first, most))
    if situation.is_closed:
        return _beyond(situation)
    if high is None and most is not None and low >= most:
        return None
    units = next(found for strategy in _STRATEGIES if (found := strategy(situation)) is not None)
    top = high - 1 if high is not None else most
    return unit * max(low + 1, units if top is None else min(units, top))


def smallest_after_errors(situation: Situation) -> int | None:
    """Show whether it is the batch size that fails, or the model."""
    if any(sample.trains or sample.lacks_memory for sample in situation.samples):
        return None
    return situation.bounds.smallest // situation.bounds.multiple_of


def below_an_error(situation: Situation) -> int | None:
    """Try the sizes at which a tensor reaches the range of 32-bit indices, the largest first; then halve."""
    low, high, predictor = situation.low, situation.high, situation.bounds.predictor
    if high is None or situation.fails_by_memory:
        return None
    unit, trains = situation.bounds.multiple_of, situation.boundary.trains
    limits = [size // unit for size in predictor.index_limits(trains)] if predictor else []
    if low in limits:
        return low + 1
    return max((size for size in limits if low < size < high), default=_middle(low, high))


def halve_at_the_end(situation: Situation) -> int | None:
    """Halve; if nothing has failed yet, try the size at which the lines say that something must.

    A trial that trains shows how the plans of its size grow, so every other trial may follow a prediction from it.
    """
    low, upper = situation.low, situation.upper
    used = len(situation.samples) - situation.bounds.guided_trials
    is_new = any(sample.batch_size == situation.boundary.trains for sample in situation.samples[-2:])
    if used < 0 or (used % 2 and is_new):
        return None
    if situation.high is None and low and low < upper < 2 * low:
        return math.floor(upper) + 1
    return _middle(low, situation.high)


def one_below_a_multiple(situation: Situation) -> int | None:
    """Try whether only the plans for aligned batches take too much."""
    bounds, boundary = situation.bounds, situation.boundary
    if bounds.predictor is None or boundary.fails is None or boundary.fails % _ALIGNED:
        return None
    size = boundary.fails - bounds.multiple_of
    if size % _ALIGNED and bounds.predictor.fits_from(boundary.trains, size):
        return size // bounds.multiple_of
    return None


def below_another_pattern(situation: Situation) -> int | None:
    """Get a run to its end with the plans of large batches: the requests of one that was cut off lack the rest."""
    low, high, predictor = situation.low, situation.high, situation.bounds.predictor
    if predictor is None or high is None or low >= _FAR_BELOW * high or not situation.fails_by_memory:
        return None
    if predictor.knows_the_end(situation.boundary.fails or 0):
        return None
    first = _PREDICTED if situation.bounds.start_origin is StartOrigin.PREDICTED else _WITHOUT_ANY
    return math.floor((_COMPLETE if low else first) * high)


def predicted(situation: Situation) -> int | None:
    """Try what the replay predicts. If more trains than predicted, again and again, take longer steps up."""
    low, high, predictor = situation.low, situation.high, situation.bounds.predictor
    if predictor is None or (found := predictor.largest_that_fits(situation.boundary)) is None:
        return None
    if found > situation.boundary.trains:
        units = found // situation.bounds.multiple_of
        # Activations of a few samples may be as large as a weight, and then seem not to grow. The lines are no guess.
        if 0 < low < SMALLEST_INFORMATIVE and situation.has_bound:
            return min(units, max(low + 1, math.floor(situation.upper)))
        return units
    close = sum(sample.batch_size >= _SAME * situation.boundary.trains for sample in situation.trained)
    if close <= _PREDICTIONS:
        return low + 1
    return low + 2 ** (close - _PREDICTIONS) if high is None else _middle(low, high)


def between_sides(situation: Situation) -> int | None:
    """Follow the line between both sides of the boundary to where it crosses the memory."""
    boundary, held = situation.boundary, {sample.batch_size: sample.held_bytes for sample in situation.samples}
    below, above = held.get(boundary.trains), held.get(boundary.fails or 0)
    if below is None or above is None or boundary.fails is None or above <= below:
        return None
    share = (situation.bounds.available_bytes - below) / (above - below)
    size = boundary.trains + share * (boundary.fails - boundary.trains)
    return math.floor(size / situation.bounds.multiple_of)


def grow(situation: Situation) -> int | None:
    """Find a second batch that trains."""
    low, high = situation.low, situation.high
    if situation.has_bound:
        return None
    if high is not None or not low:
        return _middle(low, high)
    is_estimated = situation.bounds.start_origin is StartOrigin.ESTIMATED and len(situation.samples) == 1
    return low * (_FROM_ESTIMATE if is_estimated else _GROWTH)


def leap(situation: Situation) -> int | None:
    """Get near to the upper limit, where a trial corrects the lines."""
    low, high = situation.low, situation.high
    if low >= _NEAR * situation.upper:
        return None
    units = math.floor(_LEAP * situation.upper)
    return units if high is None or units < _LEAP * high else _middle(low, high)


def near_the_lines(situation: Situation) -> int | None:
    """Try a little below the upper limit, then halve what the lines leave."""
    low, high, upper, bounds = situation.low, situation.high, situation.upper, situation.bounds
    lower = min(lower_limit(situation.trained, bounds.available_bytes) / bounds.multiple_of, upper)
    top = math.floor(upper) + 1 if high is None else min(high, math.floor(upper) + 1)
    first = math.floor(upper - min(_LOST * upper, upper - lower))
    if low < first < top:
        return first
    if top - low <= 1:
        return low + 1
    floor = max(low, math.floor(lower) - 1)
    return (floor + top) // 2 if floor < top else (low + top) // 2


_STRATEGIES: tuple[Strategy, ...] = (
    smallest_after_errors,
    below_an_error,
    halve_at_the_end,
    one_below_a_multiple,
    below_another_pattern,
    predicted,
    between_sides,
    grow,
    leap,
    near_the_lines,
)


def _beyond(situation: Situation) -> int | None:
    """A batch size above a boundary that much memory was left at: a larger batch may fragment it less, and train."""
    bounds, boundary = situation.bounds, situation.boundary
    unit, fails = bounds.multiple_of, boundary.fails or 0
    upper = upper_limit(situation.trained, bounds.available_bytes)
    above = [sample.batch_size for sample in situation.samples if sample.batch_size > fails]
    end = min([upper, *above] if bounds.most is None else [upper, *above, bounds.most + 1])
    if not boundary.trains or math.isinf(upper) or end <= _MUCH_LEFT * fails:
        return None
    size = math.floor((fails + end) / 2 / unit) * unit
    if not fails < size < end:
        return None
    return size if bounds.predictor is None or bounds.predictor.fits_from(boundary.trains, size) else None


def _middle(low: int, high: int | None) -> int:
    if high is None:
        return 2 * low
    # From afar the middle between the exponents, since growth may be of any size.
    return high // _GROWTH if not low else math.isqrt(low * high) if high > 4 * low else (low + high) // 2
