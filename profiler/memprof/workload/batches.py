"""Create a batch of synthetic data on its device; only shapes and dtypes matter for memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from memprof.config.schema import Mode, SweepConfig, TensorConfig
from memprof.workload.precision import weights_dtype


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The model's positional arguments and the target of the loss; the batch dimension comes first."""

    inputs: tuple[Tensor, ...]
    target: Tensor | None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Every tensor of the batch, the target last."""
        return self.inputs if self.target is None else (*self.inputs, self.target)


def make_batch(config: SweepConfig, batch_size: int, device: torch.device) -> Batch:
    """Return `batch_size` samples of random data on `device`; equal seeds give equal data.

    float32 tensors get the dtype of the weights. In inference there is no target.
    """
    with_target = config.target is not None and config.mode is Mode.TRAIN
    generator = None if device.type == "meta" else torch.Generator(device).manual_seed(config.seed)
    return Batch(
        inputs=tuple(_tensor(config, part, batch_size, device, generator) for part in config.input),
        target=_tensor(config, config.target, batch_size, device, generator)
        if with_target and config.target is not None
        else None,
    )


def _tensor(
    config: SweepConfig,
    part: TensorConfig,
    batch_size: int,
    device: torch.device,
    generator: torch.Generator | None,
) -> Tensor:
    shape = (batch_size, *part.shape)
    channels_last = config.channels_last and len(shape) == 4
    layout = torch.channels_last if channels_last else torch.contiguous_format
    tensor = torch.empty(shape, dtype=tensor_dtype(config, part), device=device, memory_format=layout)
    if tensor.is_meta:
        return tensor  # it has no data
    if tensor.is_floating_point():
        return tensor.normal_(generator=generator)
    low, high = part.range or _default_range(tensor.dtype)
    return tensor.random_(low, high, generator=generator)


def tensor_dtype(config: SweepConfig, part: TensorConfig) -> torch.dtype:
    """Return the dtype of `part` in the batch; float32 becomes the dtype of the weights."""
    if part.dtype == "float32":
        return weights_dtype(config.precision)
    dtype: torch.dtype = getattr(torch, part.dtype)
    return dtype


def _default_range(dtype: torch.dtype) -> tuple[int, int]:
    """Return the range if the config has none: all pixels, both booleans, or 0, which is a valid index everywhere."""
    return {torch.uint8: (0, 256), torch.bool: (0, 2)}.get(dtype, (0, 1))
