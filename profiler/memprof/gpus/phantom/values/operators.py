"""Running an operator of the device on the host: the same operator, or another one where the host has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from .collectives import COLLECTIVES, is_collective
from .cuda_only import CUDA_ONLY
from .nested import map_nested

_HALF = (torch.float16, torch.bfloat16)
# What operators of the CPU say if they do not take the types that those of CUDA take.
_ABOUT_TYPES = ("not implemented for", "expected scalar type", "mixed dtype")


class NotOnHostError(Exception):
    """The host cannot run an operator; the message gives the reason."""


def run_on_host(function: Any, arguments: tuple[Any, Any], seed: int | None) -> Any:
    """Return the results of an operator for values of the host.

    Random operators draw from PyTorch's generator for the CPU, which has `seed` while they run.

    Raises:
        NotOnHostError: the host does not have the operator, or the operator refuses the values.
    """
    positional, named = map_nested(_of_host, arguments)
    run = _host_function(function)
    if seed is None:
        return _run(run, positional, named)
    before = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        return _run(run, positional, named)
    finally:
        torch.set_rng_state(before)


def _host_function(function: Any) -> Callable[..., Any]:
    name = str(function)
    run: Callable[..., Any] = CUDA_ONLY.get(name) or COLLECTIVES.get(name) or function
    if run is function and isinstance(function, OpOverload) and is_collective(function):
        raise NotOnHostError("other ranks are needed")  # and the host's own process group would wait for them
    return run


def _of_host(value: Any) -> Any:
    """Return what an argument is on the host: its device, and its generator."""
    if isinstance(value, torch.device):
        return torch.device("cpu") if value.type == "cuda" else value
    return None if isinstance(value, torch.Generator) else value


def _run(run: Callable[..., Any], positional: tuple[Any, ...], named: dict[str, Any]) -> Any:
    if named.get("pin_memory"):
        named = {**named, "pin_memory": False}
    try:
        return run(*positional, **named)
    except torch._C._LinAlgError:  # type: ignore[attr-defined]
        raise  # as on the device
    except (RuntimeError, IndexError, ValueError, NotImplementedError) as error:
        if any(text in str(error) for text in _ABOUT_TYPES):
            return _run_in_float32(run, positional, named)
        raise NotOnHostError(_reason(error)) from error


def _reason(error: Exception) -> str:
    """Return the first sentence of an error's text, which may list all backends of PyTorch."""
    return (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0]


def _run_in_float32(run: Callable[..., Any], positional: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Run an operator that the CPU does not have for the type of its arguments; results are written back in place."""
    pairs: list[tuple[Tensor, Tensor]] = []

    def widened(value: Any) -> Any:
        if not isinstance(value, Tensor) or value.dtype not in _HALF:
            return value
        pairs.append((value, value.float()))
        return pairs[-1][1]

    try:
        results = run(*map_nested(widened, positional), **map_nested(widened, named))
    except (RuntimeError, IndexError, ValueError, NotImplementedError) as error:
        raise NotOnHostError(_reason(error)) from error
    for narrow, wide in pairs:
        narrow.copy_(wide)
    return results
