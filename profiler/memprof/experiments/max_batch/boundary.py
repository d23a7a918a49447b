"""The boundary between the batch sizes that train and those that do not, as the trials so far show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class TrialFigures:
    """What one trial says for the search.

    `needs_bytes` were in use at the run's peaks, by name: each must stay below the memory that there is. `held_bytes`
    were held for all of them. Both are those of a run to its end, also if that run is a failure by what it held.
    `lacks_memory` is False for a trial that failed for another reason than memory.
    """

    batch_size: int
    trains: bool
    lacks_memory: bool = True
    needs_bytes: Mapping[str, int] = field(default_factory=dict)
    held_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class BatchBoundary:
    """The largest batch size that trains, and the smallest above it that does not."""

    trains: int  # 0: none did
    fails: int | None  # None: none failed


def find_boundary(samples: Sequence[TrialFigures]) -> BatchBoundary:
    """Return the boundary so far: above the largest batch that trained, whatever failed below it."""
    trains = max((sample.batch_size for sample in samples if sample.trains), default=0)
    fails = [sample.batch_size for sample in samples if not sample.trains and sample.batch_size > trains]
    return BatchBoundary(trains=trains, fails=min(fails, default=None))
