"""Choose where the batches of a loop come from: made up on the device, of one size or several, or a real dataset."""

from __future__ import annotations

from pathlib import Path

import torch

from memprof.config.schema import SweepConfig
from memprof.workload.data_batches import DataBatches
from memprof.workload.datasets import open_dataset
from memprof.workload.loading import BatchLoader
from memprof.workload.varied_batches import VariedBatches


def make_loader(
    config: SweepConfig, batch_size: int, device: torch.device, folder: Path, epoch_steps: int
) -> BatchLoader:
    """Return the loader of the config's batches; an epoch has `epoch_steps` full batches.

    Raises:
        WorkloadError: the dataset cannot be used.
    """
    dataset = open_dataset(config, folder)
    if dataset is not None:
        return DataBatches(config, batch_size, device, dataset, epoch_steps)
    if config.lengths:
        return VariedBatches(config, batch_size, device, epoch_steps)
    return BatchLoader(config, batch_size, device)
