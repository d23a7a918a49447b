"""Describe a live module and its batches as a config, and save the module for the worker.

torch is not imported here: if the caller has a module, torch is imported already.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memprof.config.names import LIVE
from memprof.errors import ConfigError, WorkloadError, one_line

if TYPE_CHECKING:
    import torch

Batch = Callable[[int], Any]
_SIZES = (2, 3)  # two batches show which dimension is that of the batch
_PLAIN = (bool, int, float, str, type(None))


def is_module(value: object) -> bool:
    """Return whether `value` is a module of the torch that the caller has imported."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)


def save_module(module: torch.nn.Module, folder: Path) -> dict[str, Any]:
    """Save `module` in `folder`, and return the part of a config that names it.

    Raises:
        WorkloadError: it cannot be pickled, or there is no room for it.
    """
    import cloudpickle

    torch = sys.modules["torch"]
    plain = getattr(module, "_orig_mod", module)  # what torch.compile wraps
    name, file = type(plain).__name__, folder / "module.pt"
    try:
        torch.save(plain, file, pickle_module=cloudpickle)
        file.with_suffix(".path.json").write_text(json.dumps([entry or str(Path.cwd()) for entry in sys.path]))
    except Exception as error:
        text = one_line(f"{type(error).__name__}: {error}")
        raise WorkloadError(f"the module {name} cannot be sent to the worker: {text}") from error
    return {"model": {"name": f"{LIVE}{name}", "kwargs": {"file": str(file)}}, **_precision(plain)}


def _precision(module: torch.nn.Module) -> dict[str, str]:
    """Keep the dtype of the weights: the worker converts a module to that of the config's precision."""
    found = {str(parameter.dtype) for parameter in module.parameters() if parameter.is_floating_point()}
    names = {"torch.bfloat16": "bf16", "torch.float16": "fp16", "torch.float64": "fp64"}
    return {"precision": names[next(iter(found))]} if len(found) == 1 and found <= names.keys() else {}


def describe_batch(batch: Batch) -> dict[str, Any]:
    """Return the config's `input`, `target` and `loss` from two batches.

    Raises:
        ConfigError: a tensor has no batch dimension in front, or there is something else than tensors.
    """
    first, second = (_split(batch(size)) for size in _SIZES)
    inputs = _part(first[0], second[0], "the input")
    found: dict[str, Any] = {"input": list(inputs) if isinstance(inputs, tuple) else inputs}
    if first[1] is not None:
        target = _part(first[1], second[1], "the target")
        found["target"] = list(target) if isinstance(target, tuple) else target
        is_float = isinstance(target, dict) and str(target.get("dtype", "")).startswith(("float", "bfloat"))
        found["loss"] = "mse_loss" if is_float else "cross_entropy"
    else:
        has_labels = isinstance(first[0], Mapping) and "labels" in first[0]
        found["loss"] = "output" if has_labels else "sum"
    return found


def _split(batch: Any) -> tuple[Any, Any]:
    """Return inputs and target: a data loader's pair, or inputs alone."""
    return (batch[0], batch[1]) if isinstance(batch, tuple | list) and len(batch) == 2 else (batch, None)


def _part(first: Any, second: Any, where: str) -> Any:
    """Return how the config describes `first`, of two samples, and `second`, of three."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(first, torch.Tensor):
        return _tensor(first, second, where)
    if isinstance(first, Mapping):
        return {str(key): _part(value, second[key], f"{where} {key!r}") for key, value in first.items()}
    if isinstance(first, list) and (len(first), len(second)) == _SIZES:
        return {"per_sample": _sample(first[0], where)}
    if isinstance(first, tuple | list) and first:
        return tuple(_part(*pair, f"{where}[{index}]") for index, pair in enumerate(zip(first, second, strict=True)))
    raise ConfigError(f"batch: {where} is {type(first).__name__}; give tensors, or tuples, lists and dicts of them")


def _tensor(first: torch.Tensor, second: torch.Tensor, where: str) -> dict[str, Any]:
    shapes = tuple(first.shape), tuple(second.shape)
    if tuple(shape[:1] for shape in shapes) != ((2,), (3,)) or shapes[0][1:] != shapes[1][1:]:
        raise ConfigError(
            f"batch: {where} has the shapes {list(shapes[0])} for 2 samples and {list(shapes[1])} for 3; "
            "every tensor needs the batch as its first dimension"
        )
    return {"shape": list(shapes[0][1:]), **_values(first)}


def _sample(value: Any, where: str) -> Any:
    torch = sys.modules["torch"]
    if isinstance(value, torch.Tensor):
        return {"shape": list(value.shape), **_values(value)}
    if isinstance(value, Mapping):
        return {str(key): _sample(item, where) for key, item in value.items()}
    raise ConfigError(f"batch: an item of {where} is {type(value).__name__}; give a tensor, or a dict of tensors")


def _values(tensor: torch.Tensor) -> dict[str, Any]:
    """Return dtype and, for integers, the range: as indices they must stay valid."""
    found: dict[str, Any] = {"dtype": str(tensor.dtype).removeprefix("torch.")}
    if not tensor.is_floating_point() and found["dtype"] != "bool" and tensor.numel():
        found["range"] = [int(tensor.min()), int(tensor.max()) + 1]
    return found


def describe_optimizer(optimizer: Any) -> dict[str, Any]:
    """Return the config of a live optimizer: its class, and the arguments that are not its defaults."""
    kind = type(optimizer)
    name = kind.__name__ if kind.__module__.startswith("torch.optim") else f"{kind.__module__}:{kind.__name__}"
    parameters = inspect.signature(kind).parameters
    kwargs = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in optimizer.defaults.items()
        if key in parameters and value != parameters[key].default and _is_plain(value)
    }
    return {"name": name, "kwargs": kwargs, "label": kind.__name__}


def _is_plain(value: Any) -> bool:
    items: Sequence[Any] = value if isinstance(value, tuple | list) else [value]
    return all(isinstance(item, _PLAIN) for item in items)
