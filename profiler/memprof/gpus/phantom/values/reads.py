"""What operators of CUDA read on the host while they run: from it they know the size of what they allocate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .nested import flatten

_MASKS = (torch.bool, torch.uint8)
_INDEXED = ("aten.index.", "aten.index_put", "aten._index_put", "aten._unsafe_index")
_SIZED = ("torchvision.nms.", "aten.bincount.", "aten._grouped_mm.")
_VALID = 1
_WORD = 8  # bytes


def reads_scalar(function: Any) -> bool:
    """Return whether the operator's result is a value of Python."""
    return torch.Tag.data_dependent_output in function.tags


def reads_size(function: Any, arguments: Sequence[Any]) -> bool:
    """Return whether the operator reads how large its result is."""
    name = str(function)
    if name.startswith(_INDEXED):
        return bool(_masks(arguments))
    return torch.Tag.dynamic_output_shape in function.tags or name.startswith(_SIZED)


def words_read(function: Any, arguments: Sequence[Any], result: Any) -> Sequence[int]:
    """Return the integers that the operator reads, in their order, for arguments and a result of the host."""
    name = str(function)
    if name.startswith(_INDEXED):
        return [int(torch.count_nonzero(mask)) for mask in _masks(arguments)]
    values = arguments[0]
    if name.startswith("aten._grouped_mm."):
        return _words(arguments[2]) if len(arguments) > 2 and arguments[2] is not None else []
    if name.startswith("aten.bincount."):
        return [int(values.min()), int(values.max())] if values.numel() else []
    rows = next(item for item in flatten(result) if isinstance(item, Tensor)).shape[0]
    return [rows, _VALID] if name.startswith("aten.repeat_interleave.") else [rows]


def _words(values: Tensor) -> Sequence[int]:
    """Return the bytes of a whole tensor, which are read at once."""
    content = values.contiguous().flatten().view(torch.uint8).numpy().tobytes()
    return [int.from_bytes(content[at : at + _WORD], "little") for at in range(0, len(content), _WORD)]


def constant_words(function: Any) -> Sequence[int]:
    """Return what an operator reads whose check of its arguments passes."""
    return [_VALID] if str(function).startswith("aten.multinomial.") else []


def _masks(arguments: Sequence[Any]) -> list[Tensor]:
    return [item for item in flatten(arguments[1]) if getattr(item, "dtype", None) in _MASKS]
