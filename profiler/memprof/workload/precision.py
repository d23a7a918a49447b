"""Convert the precision of a config to torch: the dtype of the weights, and autocast."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from memprof.config.schema import Precision, SweepConfig


def weights_dtype(precision: Precision) -> torch.dtype:
    """Return the dtype of the weights; with autocast they are float32."""
    by_precision = {
        Precision.FP64: torch.float64,
        Precision.BF16: torch.bfloat16,
        Precision.FP16: torch.float16,
    }
    return by_precision.get(precision, torch.float32)


def autocast_dtype(precision: Precision) -> torch.dtype | None:
    """Return the dtype that autocast casts to, or ``None`` if the precision is not a mixed one."""
    by_precision = {Precision.AMP_BF16: torch.bfloat16, Precision.AMP_FP16: torch.float16}
    return by_precision.get(precision)


def autocast(config: SweepConfig, device_type: str) -> AbstractContextManager[object]:
    """Return the autocast of the config's precision on `device_type`, or a context that does nothing."""
    dtype = autocast_dtype(config.precision)
    if dtype is None:
        return nullcontext()
    return torch.autocast(device_type, dtype=dtype)


def named_dtype(name: str | None) -> torch.dtype | None:
    """Return PyTorch's dtype of that name: ``bfloat16``; ``None`` for no name."""
    dtype: torch.dtype | None = getattr(torch, name) if name else None
    return dtype


def in_dtype(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Convert `model`; weights that are made of other tensors and have the dtype stay packed, which `to` would undo."""
    if not any(map(is_traceable_wrapper_subclass, model.parameters())):
        return model.to(dtype=dtype)
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point() and tensor.dtype != dtype:
            tensor.data = tensor.data.to(dtype)
    return model
