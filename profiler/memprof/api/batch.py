"""Describe the batches that a function of the caller's makes, from two small ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from memprof.errors import ConfigError

_SIZES = (2, 3)  # two sizes show which dimension is that of the batch
_DTYPES = ("float32", "float64", "bfloat16", "float16", "int64", "int32", "uint8", "bool")


def describe_batch(batch: Callable[[int], Any]) -> dict[str, Any]:
    """Return the keys `input`, `target` and `loss` of a config for the batches that `batch` makes.

    ``batch(n)`` returns ``(inputs, target)``, or a mapping of keyword inputs, whose loss the model returns. `inputs` is
    a tensor, or a tuple or mapping of tensors. The first dimension of each tensor is the batch.

    Raises:
        ConfigError: it returns something else.
    """
    few, more = (batch(size) for size in _SIZES)
    if isinstance(few, Mapping):
        return {"input": _part(few, more, "batch"), "loss": "output"}
    if not isinstance(few, tuple) or len(few) != 2:
        raise ConfigError(
            f"batch: returned a {type(few).__name__}; return (inputs, target), or a dict of keyword inputs with labels"
        )
    inputs, target = (_part(one, other, name) for one, other, name in zip(few, more, ("inputs", "target"), strict=True))
    return {"input": inputs, "target": target}


def _part(few: Any, more: Any, name: str) -> Any:
    if isinstance(few, Tensor) and isinstance(more, Tensor):
        return _tensor(few, more, name)
    if isinstance(few, Mapping) and isinstance(more, Mapping):
        return {key: _part(value, more[key], f"{name}[{key!r}]") for key, value in few.items()}
    if isinstance(few, tuple | list) and isinstance(more, tuple | list) and len(few) == len(more):
        return [_part(one, other, f"{name}[{i}]") for i, (one, other) in enumerate(zip(few, more, strict=True))]
    raise ConfigError(f"batch: {name} is a {type(few).__name__}, and a batch has tensors only")


def _tensor(few: Tensor, more: Tensor, name: str) -> dict[str, Any]:
    shape = list(few.shape[1:])
    if (tuple(few.shape[:1]), tuple(more.shape[:1])) != ((_SIZES[0],), (_SIZES[1],)) or list(more.shape[1:]) != shape:
        raise ConfigError(
            f"batch: {name} has the shape {list(few.shape)} for 2 samples and {list(more.shape)} for 3; "
            "its first dimension must be the batch size, and the others must not change"
        )
    dtype = str(few.dtype).removeprefix("torch.")
    if dtype not in _DTYPES:
        raise ConfigError(f"batch: {name} has the dtype {dtype}; write one of {', '.join(_DTYPES)}")
    described: dict[str, Any] = {"shape": shape, "dtype": dtype}
    if dtype in ("int64", "int32", "uint8") and few.device.type != "meta" and few.numel():
        low, high = (int(edge) for edge in few.aminmax())
        described["range"] = [min(low, 0), high + 1]
    return described
