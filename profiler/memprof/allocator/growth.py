"""How the requests of a run grow with the batch size: from one run alone, or from two runs of one pattern.

One run says nearly everything if its batch size is a prime that is not a factor of the layers' widths. Sizes that the
run keeps and that are not a multiple of this prime do not depend on the batch: weights, gradients, optimizer state.
Tensors with a batch dimension grow in proportion, and workspaces nearly so. Two runs with the same pattern also show
which workspaces stopped growing, as those of cuDNN do at some batch size.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

SMALLEST_INFORMATIVE = 11  # a smaller prime is a factor of many widths


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordedRun:
    """The requests of one run, as `memprof.allocator.simulator.simulate` takes them.

    `refused` are the indices of the allocations that failed and that the run did without. A run that is not `complete`
    ran out of memory: its last request is the one that failed.
    """

    batch_size: int
    requests: Sequence[int]
    refused: frozenset[int] = frozenset()
    complete: bool = True

    @cached_property
    def sizes(self) -> list[int]:
        """The bytes of each allocation, by index."""
        return [request for request in self.requests if request >= 0]

    @cached_property
    def kept_sizes(self) -> frozenset[int]:
        """The sizes of the allocations that nothing freed."""
        freed = {~request for request in self.requests if request < 0}
        return frozenset(size for index, size in enumerate(self.sizes) if index not in freed)

    @cached_property
    def batch_independent_sizes(self) -> frozenset[int]:
        """The kept sizes that are not a multiple of the batch size."""
        return frozenset(size for size in self.kept_sizes if size % self.batch_size)

    @cached_property
    def optional(self) -> frozenset[int]:
        """The indices of the allocations that cuDNN can do without: `refused`, and those that look like a workspace.

        A workspace is freed by the next entry of the log. So are a few tensors, but a tensor with a batch dimension is
        a multiple of the batch size, and one without is as large as a weight.
        """
        found, index = set(self.refused), -1
        for request, following in zip(self.requests, [*self.requests[1:], 0], strict=True):
            index += request >= 0
            if request >= 0 and following == ~index and request % self.batch_size and request not in self.kept_sizes:
                found.add(index)
        return frozenset(found)

    @cached_property
    def pattern(self) -> list[int]:
        """The order of allocations and frees, without the sizes."""
        return [min(request, 0) for request in self.requests]


def is_informative(number: int) -> bool:
    """Say whether `number` is a prime that is a factor of hardly any layer's width."""
    return number >= SMALLEST_INFORMATIVE and all(number % factor for factor in range(2, math.isqrt(number) + 1))


def has_pattern_of(run: RecordedRun, other: RecordedRun) -> bool:
    """Say whether both runs allocate and free in the same order, as far as both go."""
    if run.complete and other.complete:
        return run.pattern == other.pattern
    # The request that failed may be any: a workspace that the other run got is freed at once.
    length = min(len(one.pattern) - (not one.complete) for one in (run, other))
    return run.pattern[:length] == other.pattern[:length]


@dataclass(frozen=True, kw_only=True, eq=False)
class Growth:
    """The requests of a run, and how many bytes each grows by with every sample more; frees do not grow."""

    batch_size: int
    requests: Sequence[int]
    slopes: Sequence[float]
    optional: frozenset[int]

    def at(self, batch_size: int) -> list[int]:
        """Return the requests with `batch_size` samples."""
        more = batch_size - self.batch_size
        return [
            round(request + slope * more) if slope else request
            for request, slope in zip(self.requests, self.slopes, strict=True)
        ]


def scaled(run: RecordedRun, fixed: Collection[int]) -> Growth:
    """Return the growth of a run in proportion to the batch size; the sizes in `fixed` stay as they are."""
    slopes = [0.0 if request < 0 or request in fixed else request / run.batch_size for request in run.requests]
    return Growth(batch_size=run.batch_size, requests=run.requests, slopes=slopes, optional=run.optional)


def extrapolated(run: RecordedRun, other: RecordedRun, fixed: Collection[int]) -> Growth:
    """Return the growth of `run` along the lines through it and another run of the same pattern.

    No size shrinks as the batch grows, and none grows more than in proportion: a steeper line joins the workspaces of
    two different plans. The requests that only one of the runs got to grow in proportion.
    """
    shared = min(len(run.requests), len(other.requests))
    apart = run.batch_size - other.batch_size
    steepest = scaled(run, ()).slopes
    slopes = [
        min(max((size - other_size) / apart, 0.0), most) if most else 0.0
        for size, other_size, most in zip(run.requests, other.requests, steepest, strict=False)
    ]
    tail = scaled(max(run, other, key=lambda one: len(one.requests)), fixed)
    after = {index for index in other.optional if index >= len(run.sizes)}
    return Growth(
        batch_size=run.batch_size,
        requests=[*run.requests[:shared], *tail.at(run.batch_size)[shared:]],
        slopes=[*slopes, *tail.slopes[shared:]],
        optional=run.optional | after,
    )
