"""Batches whose sizes differ: first those of the largest sizes, then random ones."""

from __future__ import annotations

import random
from collections.abc import Mapping

import torch

from memprof.config.schema import SweepConfig
from memprof.workload.batches import Batch, make_batch
from memprof.workload.loading import BatchLoader


class VariedBatches(BatchLoader):
    """The batches of one loop: `epoch_steps` of the largest sizes, then the config's `random_batches`."""

    def __init__(self, config: SweepConfig, batch_size: int, device: torch.device, epoch_steps: int) -> None:
        """Prepare the loop; the seed of the config determines the lengths."""
        super().__init__(config, batch_size, device)
        self.more_steps = config.random_batches
        self._left, self._random = epoch_steps * config.gradient_accumulation, random.Random(config.seed)

    def make(self) -> Batch:
        """Return a batch of the largest sizes as often as those are due, then one of random sizes."""
        if self._left:
            self._left -= 1
            return self.make_up()
        self.drawn = self._draw()
        config = self._config.model_copy(update={"sizes": {**self._config.sizes, **self.drawn}})
        return make_batch(config, self._batch_size, self.device)

    def _draw(self) -> Mapping[str, int]:
        return {name: lengths.draw(self._random, self._batch_size) for name, lengths in self._config.lengths.items()}
