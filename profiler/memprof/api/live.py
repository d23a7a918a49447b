"""Send a live `torch.nn.Module` to the worker: its code and structure, without the values of its large tensors.

Values do not change the memory of a training step. So a tensor of more than 64 KiB arrives as zeros, which take no host
memory, and a model on the GPU is not copied. Smaller ones keep their values, since code may read them.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import cloudpickle
import torch
from torch import Tensor, nn

from memprof.errors import ConfigError, one_line

_LARGEST_WITH_VALUES_BYTES = 1 << 16
_PLAIN = (Tensor, nn.Parameter, nn.Buffer)


def write_model(model: nn.Module, file: Path) -> None:
    """Write `model` to `file`, from which `load_model` gets it in another process.

    Raises:
        ConfigError: an attribute of the model cannot be sent.
    """
    whole = getattr(model, "_orig_mod", model)  # what torch.compile wraps
    stream = io.BytesIO()
    try:
        _Pickler(stream).dump(whole)
    except (
        pickle.PicklingError,
        TypeError,
        AttributeError,
        NotImplementedError,
        RuntimeError,
        RecursionError,
    ) as error:
        raise ConfigError(
            one_line(
                f"{type(whole).__name__} cannot be sent to the process that measures it: {error}; "
                "write FILE.py:FUNCTION, a function that builds it"
            )
        ) from error
    file.write_bytes(stream.getvalue())


def load_model(file: Path) -> nn.Module:
    """Return the model that `write_model` has written in this user's process."""
    with file.open("rb") as stream:
        model: nn.Module = pickle.load(stream)
    return model


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc, unused-ignore]
    def reducer_override(self, obj: Any) -> Any:
        """Reduce a tensor to what determines its memory; anything else as cloudpickle does."""
        if not isinstance(obj, Tensor):
            return super().reducer_override(obj)
        if type(obj) not in _PLAIN:
            raise pickle.PicklingError(f"it has a {type(obj).__name__}")
        return _restore, _describe(obj)


def _describe(tensor: Tensor) -> tuple[Any, ...]:
    plain = tensor.detach()
    size_bytes = plain.numel() * plain.element_size()
    has_values = size_bytes <= _LARGEST_WITH_VALUES_BYTES and plain.device.type != "meta"
    values = plain.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if has_values else None
    channels_last = plain.dim() == 4 and plain.is_contiguous(memory_format=torch.channels_last)
    kind = _PLAIN.index(type(tensor))
    return tuple(plain.shape), plain.dtype, values, channels_last, tensor.requires_grad and tensor.is_leaf, kind


def _restore(
    shape: tuple[int, ...], dtype: torch.dtype, values: bytes | None, channels_last: bool, trained: bool, kind: int
) -> Tensor:
    if values:
        tensor = torch.frombuffer(bytearray(values), dtype=torch.uint8).view(dtype).reshape(shape)
    else:
        tensor = torch.zeros(shape, dtype=dtype)
    if channels_last and not tensor.is_contiguous(memory_format=torch.channels_last):
        tensor = tensor.contiguous(memory_format=torch.channels_last)
    if _PLAIN[kind] is nn.Parameter:
        return nn.Parameter(tensor, requires_grad=trained)
    if _PLAIN[kind] is nn.Buffer:
        return nn.Buffer(tensor)
    return tensor.requires_grad_(trained)
