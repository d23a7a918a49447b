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
    if _reads_range(name, arguments):
        return True
    return torch.Tag.dynamic_output_shape in function.tags or name.startswith(_SIZED)


def words_read(function: Any, arguments: Sequence[Any], result: Any) -> Sequence[int]:
    """Return the integers that the operator reads, in their order, for arguments and a result of the host."""
    if deciding := deciding_arguments(function, arguments):
        return words_of(function, deciding)
    name, values = str(function), arguments[0]
    if name.startswith(("aten.bincount.", "aten.histc.")):
        return [int(values.min()), int(values.max())] if values.numel() else []
    rows = next(item for item in flatten(result) if isinstance(item, Tensor)).shape[0]
    return [rows, _VALID] if name.startswith("aten.repeat_interleave.") else [rows]


def deciding_arguments(function: Any, arguments: Sequence[Any]) -> list[Tensor]:
    """Return the arguments that alone decide the size: masks, or the ends of groups; none if the result is needed."""
    name = str(function)
    if name.startswith(_INDEXED):
        return _masks(arguments)
    if name.startswith("aten._grouped_mm."):
        return [ends for ends in arguments[2:3] if ends is not None]
    return []


def _reads_range(name: str, arguments: Sequence[Any]) -> bool:
    """Return whether `histc` takes the range of its bins from its values, which are integers."""
    if name != "aten.histc.default" or arguments[0].is_floating_point():
        return False
    low, high = (*arguments[2:4], 0, 0)[:2]  # 0 and 0 by default
    return bool(low == high)


def words_of(function: Any, deciding: Sequence[Tensor]) -> Sequence[int]:
    """Return the integers that the operator reads, for the values of its deciding arguments."""
    if str(function).startswith("aten._grouped_mm."):
        return [word for ends in deciding for word in _words(ends)]
    return [int(torch.count_nonzero(mask)) for mask in deciding]


def _words(values: Tensor) -> Sequence[int]:
    """Return the bytes of a whole tensor, which are read at once."""
    content = values.contiguous().flatten().view(torch.uint8).numpy().tobytes()
    return [int.from_bytes(content[at : at + _WORD], "little") for at in range(0, len(content), _WORD)]


def constant_words(function: Any) -> Sequence[int]:
    """Return what an operator reads whose check of its arguments passes."""
    return [_VALID] if str(function).startswith("aten.multinomial.") else []


def _masks(arguments: Sequence[Any]) -> list[Tensor]:
    return [item for item in flatten(arguments[1]) if getattr(item, "dtype", None) in _MASKS]
