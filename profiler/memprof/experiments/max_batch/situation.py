"""What a strategy sees: the trials so far, what the search may do, and what the replays predict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property
from typing import Protocol

from memprof.experiments.max_batch.boundary import BatchBoundary, TrialFigures, find_boundary
from memprof.experiments.max_batch.lines import upper_limit


class StartOrigin(Enum):
    """Where the batch size of the first trial comes from."""

    GIVEN = auto()  # by the user, or the smallest
    ESTIMATED = auto()  # about half of what fits by the analytic estimate
    PREDICTED = auto()  # what fits by the runs of another GPU


@dataclass(frozen=True, kw_only=True)
class Start:
    """The batch size of the first trial, and where it comes from."""

    batch_size: int
    origin: StartOrigin = StartOrigin.GIVEN


class Predictor(Protocol):
    """Predicts from what the trials requested of PyTorch's allocator. All sizes are batch sizes."""

    def largest_that_fits(self, boundary: BatchBoundary) -> int | None:
        """Return the largest size predicted to fit within the boundary so far; ``None`` if that is unknown."""

    def fits_from(self, recorded: int, batch_size: int) -> bool:
        """Say whether the trial of size `recorded`, if any, predicts that `batch_size` fits."""

    def knows_the_end(self, recorded: int) -> bool:
        """Say whether a run to its end has the pattern of the trial `recorded`, which may have been cut off."""

    def index_limits(self, recorded: int) -> Sequence[int]:
        """Return the sizes at which a tensor of the trial `recorded` reaches the range of 32-bit indices."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What the search may do: batch sizes from `multiple_of` up to `most`, all multiples, the first one `start`.

    After `guided_trials` trials, halving ends the search.
    """

    available_bytes: int
    start: int = 1
    start_origin: StartOrigin = StartOrigin.GIVEN
    smallest: int = 1
    most: int | None = None
    multiple_of: int = 1
    predictor: Predictor | None = None
    guided_trials: int = 8


@dataclass(frozen=True, kw_only=True)
class Situation:
    """The trials so far and their boundary. `low`, `high` and `most` are in units of `multiple_of`."""

    samples: Sequence[TrialFigures]
    bounds: Bounds

    @cached_property
    def boundary(self) -> BatchBoundary:
        """The boundary so far, in samples."""
        return find_boundary(self.samples)

    @cached_property
    def low(self) -> int:
        """The largest number of units that trains, or 0."""
        return self.boundary.trains // self.bounds.multiple_of

    @cached_property
    def high(self) -> int | None:
        """The smallest number above `low` that fails, if one did."""
        return None if self.boundary.fails is None else self.boundary.fails // self.bounds.multiple_of

    @cached_property
    def most(self) -> int | None:
        """The largest number that may be tried, if there is a bound."""
        return None if self.bounds.most is None else self.bounds.most // self.bounds.multiple_of

    @cached_property
    def trained(self) -> Sequence[TrialFigures]:
        """The trials that trained, the smallest batch first."""
        return sorted((sample for sample in self.samples if sample.trains), key=lambda sample: sample.batch_size)

    @cached_property
    def upper(self) -> float:
        """The number of units at which the lines of what is in use reach the memory."""
        return upper_limit(self.trained, self.bounds.available_bytes) / self.bounds.multiple_of

    @cached_property
    def fails_by_memory(self) -> bool:
        """Whether the smallest failure above `low` was for want of memory."""
        return all(sample.lacks_memory for sample in self.samples if sample.batch_size == self.boundary.fails)

    @property
    def is_closed(self) -> bool:
        """Whether `low` and `high` are neighbours."""
        return self.high is not None and self.high - self.low <= 1

    @property
    def has_bound(self) -> bool:
        """Whether the lines show an upper limit."""
        return not math.isinf(self.upper)
