"""Make one batch of synthetic data on the device that uses it: only shapes and dtypes affect memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from memprof.config.schema import Mode, SweepConfig
from memprof.config.tensors import TensorConfig, build
from memprof.workload.precision import weights_dtype


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The model's positional and keyword arguments, and the loss target; batch dimension first.

    Each argument is a tensor or a structure of tuples, lists and dicts with tensors.
    """

    inputs: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] = field(default_factory=dict)
    target: Any = None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Every tensor of the batch, those of the target last."""
        leaves = tree_leaves((self.inputs, dict(self.keywords), self.target))
        return tuple(leaf for leaf in leaves if isinstance(leaf, Tensor))

    @property
    def targets(self) -> tuple[Tensor, ...]:
        """The tensors that the loss compares the output with."""
        return tuple(leaf for leaf in tree_leaves(self.target) if isinstance(leaf, Tensor))

    @property
    def size(self) -> int:
        """The number of samples: the first dimension of the first tensor."""
        return len(self.tensors[0])

    @property
    def device(self) -> torch.device:
        """The device of the batch."""
        return self.tensors[0].device

    def run(self, model: nn.Module) -> Any:
        """Return the output of `model` for this batch."""
        return model(*self.inputs, **self.keywords)


def make_batch(config: SweepConfig, batch_size: int, device: torch.device) -> Batch:
    """Return `batch_size` samples of random data on `device`; the same seed gives the same data.

    A float32 tensor takes the dtype of the weights if they have another one. In inference there is no target.
    """
    generator = None if device.type == "meta" else torch.Generator(device).manual_seed(config.seed)

    def make(part: TensorConfig, leading: tuple[int, ...]) -> Tensor:
        return _tensor(config, part.resolved(config.sizes), leading, device, generator)

    given = config.input
    target = config.target if config.mode is Mode.TRAIN else None
    return Batch(
        inputs=() if isinstance(given, Mapping) else build(given, batch_size, make),
        keywords=build(given, batch_size, make) if isinstance(given, Mapping) else {},
        target=None if target is None else build(target, batch_size, make),
    )


def _tensor(
    config: SweepConfig,
    part: TensorConfig,
    leading: tuple[int, ...],
    device: torch.device,
    generator: torch.Generator | None,
) -> Tensor:
    shape = torch.Size((*leading, *(size for size in part.shape if isinstance(size, int))))
    channels_last = config.channels_last and len(shape) == 4
    layout = torch.channels_last if channels_last else torch.contiguous_format
    tensor = torch.empty(shape, dtype=tensor_dtype(config, part), device=device, memory_format=layout)
    if tensor.is_meta:
        return tensor  # a meta tensor has no data
    if tensor.is_floating_point():
        return tensor.normal_(generator=generator)
    low, high = part.range or _default_range(tensor.dtype)
    return tensor.random_(int(low), int(high), generator=generator)


def tensor_dtype(config: SweepConfig, part: TensorConfig) -> torch.dtype:
    """Return the dtype of `part` in the batch; float32 becomes the dtype of the weights."""
    if part.dtype == "float32":
        return weights_dtype(config.precision)
    dtype: torch.dtype = getattr(torch, part.dtype)
    return dtype


def _default_range(dtype: torch.dtype) -> tuple[int, int]:
    """Return the range if the config has none: all pixels, both booleans, or 0, which is a valid index everywhere."""
    return {torch.uint8: (0, 256), torch.bool: (0, 2)}.get(dtype, (0, 1))
