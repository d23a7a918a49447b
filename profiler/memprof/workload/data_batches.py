"""Batches of a real dataset, through a DataLoader with workers and pinned memory as the config says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only
from torch.utils.data import DataLoader, Dataset

from memprof.config.loop import NORMALIZATIONS, DataConfig
from memprof.config.schema import Mode, SweepConfig
from memprof.errors import WorkloadError
from memprof.workload.batches import Batch
from memprof.workload.loading import BatchLoader
from memprof.workload.precision import weights_dtype


class DataBatches(BatchLoader):
    """The batches of one loop over a dataset: full ones, then the smaller last one of the epoch, then full ones."""

    def __init__(
        self, config: SweepConfig, batch_size: int, device: torch.device, dataset: Dataset[Any], epoch_steps: int
    ) -> None:
        """Start the workers. An epoch has `epoch_steps` full batches here, however long the dataset is.

        Raises:
            WorkloadError: the dataset has fewer samples than one batch.
        """
        if config.data is None:
            raise ValueError("the config has no data")
        super().__init__(config, batch_size, device)
        self._data, self._channels_last = config.data, config.channels_last
        self._dtype, self._trains = weights_dtype(config.precision), config.mode is Mode.TRAIN
        self._scale = _scale(config.data, device)
        length = len(dataset)  # type: ignore[arg-type]  # checked when it was opened
        if length < batch_size:
            raise WorkloadError(
                f"data: {config.data.dataset} has {length:,} samples, fewer than a batch of {batch_size:,}"
            )
        last_size = 0 if config.data.drop_last else length % batch_size
        self.more_steps = 1 if last_size else 0
        sampler = _Batches(length, batch_size, epoch_steps, last_size, config.seed)
        self._batches = iter(_loader(dataset, config.data, sampler))

    def make(self) -> Batch:
        """Return the next batch of the dataset on the device."""
        return self._moved(_batch_of(next(self._batches), self._trains))

    def _moved(self, batch: Batch) -> Batch:
        parts = (batch.inputs, dict(batch.keywords), batch.target)
        inputs, keywords, target = tree_map_only(Tensor, self._to_device, parts)
        if self._data.pixels == "uint8":
            inputs = tuple(self._normalized(part) for part in inputs)
        return replace(batch, inputs=inputs, keywords=keywords, target=target)

    def _to_device(self, tensor: Tensor) -> Tensor:
        layout = torch.channels_last if self._channels_last and tensor.dim() == 4 else torch.preserve_format
        dtype = self._dtype if tensor.dtype is torch.float32 else tensor.dtype
        return tensor.to(self.device, dtype, non_blocking=self._data.non_blocking, memory_format=layout)

    def _normalized(self, pixels: Any) -> Any:
        """Convert pixels on the device: one new tensor of floats, then in place."""
        if not isinstance(pixels, Tensor) or pixels.dtype is not torch.uint8:
            return pixels
        images = pixels.to(self._dtype).div_(255)
        if self._scale is not None:
            mean, deviation = self._scale
            images.sub_(mean).div_(deviation)
        return images


class _Batches:
    """A batch sampler without end: the indices of each batch, shuffled with the seed."""

    def __init__(self, length: int, batch_size: int, epoch_steps: int, last_size: int, seed: int) -> None:
        self._length, self._batch_size, self._epoch_steps, self._last_size = length, batch_size, epoch_steps, last_size
        self._seed = seed

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self._seed)
        order = torch.randperm(self._length, generator=generator).tolist()
        whole, step = self._length // self._batch_size, 0
        while True:
            start = step % whole * self._batch_size
            yield order[start : start + self._batch_size]
            step += 1
            if step == self._epoch_steps and self._last_size:
                yield order[-self._last_size :]


def _loader(dataset: Dataset[Any], data: DataConfig, sampler: _Batches) -> DataLoader[Any]:
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=data.workers,
        pin_memory=data.pin_memory,
        prefetch_factor=data.prefetch_factor if data.workers else None,
    )


def _batch_of(collated: Any, trains: bool) -> Batch:
    """Return a collated batch by the model's arguments: a mapping of keywords, or inputs with the target last."""
    if isinstance(collated, Mapping):
        return Batch(keywords=collated)
    parts = tuple(collated) if isinstance(collated, tuple | list) else (collated,)
    if len(parts) == 1:
        return Batch(inputs=parts)
    return Batch(inputs=parts[:-1], target=parts[-1] if trains else None)


def _scale(data: DataConfig, device: torch.device) -> tuple[Any, Any] | None:
    """Return mean and deviation for the device: numbers, or a small tensor if they differ between channels."""
    if data.pixels != "uint8" or data.transform is None:
        return None
    mean, deviation = NORMALIZATIONS[data.transform]
    if len(set(mean)) == len(set(deviation)) == 1:
        return mean[0], deviation[0]
    shape = (-1, 1, 1)
    return torch.tensor(mean, device=device).view(shape), torch.tensor(deviation, device=device).view(shape)
