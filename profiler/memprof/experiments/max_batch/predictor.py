"""Predictions from the recorded runs of one search, for one amount of memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memprof.allocator.extrapolate import AllocatorBudget, BatchExtrapolator
from memprof.allocator.growth import RecordedRun
from memprof.experiments.max_batch.boundary import BatchBoundary

_LARGEST_INDEX = 2**31 - 1  # of a signed 32-bit integer, in which many kernels count elements
_ITEM_BYTES = (4, 2)  # float32; float16 and bfloat16


@dataclass(frozen=True, kw_only=True)
class RunPredictor:
    """The `Predictor` of a search: its recorded runs, and the memory that a run may have."""

    runs: BatchExtrapolator
    budget: AllocatorBudget

    def largest_that_fits(self, boundary: BatchBoundary) -> int | None:
        """Return the largest size predicted to fit within the boundary so far; ``None`` if that is unknown."""
        return self.runs.largest_that_fits(self.budget, above=boundary.trains, below=boundary.fails)

    def fits_from(self, recorded: int, batch_size: int) -> bool:
        """Say whether the trial of size `recorded`, if any, predicts that `batch_size` fits."""
        return self.runs.fits_from(recorded, batch_size, self.budget)

    def knows_the_end(self, recorded: int) -> bool:
        """Say whether a run to its end has the pattern of the trial `recorded`, which may have been cut off."""
        return self.runs.knows_the_end(recorded)

    def index_limits(self, recorded: int) -> Sequence[int]:
        """Return the sizes at which a tensor of the trial `recorded` reaches the range of 32-bit indices."""
        run = self.runs.recorded(recorded)
        return () if run is None else index_limits(run)


def index_limits(run: RecordedRun) -> Sequence[int]:
    """Return the batch sizes up to which each tensor of a run, or a channel of it, has at most 2**31 - 1 elements.

    A channel counts on its own where PyTorch sums over all others, as for the gradient of a bias. How many channels
    there are shows in the sizes that do not depend on the batch: one of them is the bias.
    """
    per_sample: set[int] = set()
    for item_bytes in _ITEM_BYTES:
        channels = {size // item_bytes for size in run.batch_independent_sizes if size % item_bytes == 0}
        for size in set(run.sizes):
            elements, rest = divmod(size, item_bytes * run.batch_size)
            if not rest:
                per_sample |= {elements, *(elements // count for count in channels if count and elements % count == 0)}
    return sorted({_LARGEST_INDEX // elements for elements in per_sample if elements})
