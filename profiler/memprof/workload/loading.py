"""Load the batch of each step onto the device, in the order in which a loop allocates the new and frees the old one."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from memprof.config.schema import BatchMode, SweepConfig
from memprof.workload.batches import Batch, make_batch


class BatchLoader:
    """The batches of one loop. What a copy from the host allocates is allocated: one block for each tensor.

    The data is made on the device, which allocates nothing more. A copy of real data has the same requests, and this
    one costs no host memory.
    """

    def __init__(self, config: SweepConfig, batch_size: int, device: torch.device) -> None:
        """Prepare to load batches of `batch_size`; a resident one is loaded now."""
        self._config, self._batch_size, self.device = config, batch_size, device
        self.more_steps = 0  # of an epoch, after its steps with full batches
        self.drawn: Mapping[str, int] | None = None  # the sizes of the last batch, if they are not the largest
        self.is_resident = config.batch is BatchMode.RESIDENT
        self._batch = self.make() if self.is_resident else None

    @property
    def current(self) -> Batch:
        """The batch that was loaded last.

        Raises:
            RuntimeError: none was loaded yet.
        """
        if self._batch is None:
            raise RuntimeError("no batch was loaded")
        return self._batch

    def make(self) -> Batch:
        """Return one more batch on the device; the loader does not keep it."""
        return self.make_up()

    def make_up(self) -> Batch:
        """Return a batch like those of the loop, of made-up data."""
        return make_batch(self._config, self._batch_size, self.device)

    def release(self) -> None:
        """Free the current batch, unless it is resident."""
        if not self.is_resident:
            self._batch = None

    def load(self) -> Batch:
        """Load a batch in place of the previous one, and return it."""
        if self._config.batch is BatchMode.REPLACED:
            self._batch = None
        self._batch = self.make()  # until here the previous one exists
        return self._batch
