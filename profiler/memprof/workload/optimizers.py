"""Build an optimizer by name: of torch.optim, or a class of another installed package."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any, cast

import torch
from torch.nn import Parameter
from torch.optim import Optimizer

from memprof.config.names import installed_optimizer
from memprof.config.schema import Kwargs, OptimizerConfig
from memprof.errors import WorkloadError, did_you_mean
from memprof.workload.reason import reason


def build_optimizer(spec: OptimizerConfig, parameters: Iterable[Parameter]) -> Optimizer:
    """Return the optimizer of `spec` for `parameters`.

    Raises:
        WorkloadError: there is no such class, its package cannot be imported, it refuses the keyword arguments
            or the parameters, or its step needs a closure.
    """
    kind, defaults = find_optimizer(spec.name)
    if kind is torch.optim.LBFGS:
        raise WorkloadError(
            f"optimizer {spec.name!r} needs a closure, because its step runs the model several times; "
            "memprof's step runs it once, so choose another optimizer"
        )
    try:
        return kind(parameters, **{**defaults, **spec.kwargs})
    except Exception as error:
        raise WorkloadError(f"optimizer {spec.name!r} cannot be built: {reason(error)}") from error


def find_optimizer(name: str) -> tuple[type[Optimizer], Kwargs]:
    """Return the class of that name, in upper or lower case, and the keyword arguments that the name implies.

    Raises:
        WorkloadError: there is no such class, or its package cannot be imported.
    """
    variants: Mapping[str, Kwargs] = {
        "sgd+momentum": {"momentum": 0.9},
        "sgd+nesterov": {"momentum": 0.9, "nesterov": True},
    }
    installed = installed_optimizer(name)
    if installed is not None:
        return _installed(name, *installed), {}
    classes = {key.lower(): value for key, value in vars(torch.optim).items() if _is_optimizer(value)}
    if name.lower() in variants:
        return torch.optim.SGD, variants[name.lower()]
    if name.lower() not in classes:
        hint = did_you_mean(name, [*classes, *variants])
        raise WorkloadError(f"optimizer {name!r} is not in torch.optim{hint}")
    return classes[name.lower()], {}


def keep_paged_state_on_host(optimizer: Optimizer) -> None:
    """Give a paged optimizer of bitsandbytes its state as tensors of the CPU.

    Its own are in CUDA's managed memory, which PyTorch counts as the CPU's; fake tensors have no such memory.
    """
    if not getattr(optimizer, "is_paged", False):
        return
    paged: Any = optimizer
    own = paged.get_state_buffer

    def get_state_buffer(parameter: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        if parameter.numel() < 1e5:  # bitsandbytes.optim.optimizer: small states are not paged
            return cast("torch.Tensor", own(parameter, dtype=dtype))
        state: Any = torch.zeros(parameter.shape, dtype=dtype)
        state.is_paged = True
        return cast("torch.Tensor", state)

    paged.get_state_buffer = get_state_buffer
    paged.prefetch_state = lambda _parameter: None


def _installed(name: str, module_name: str, kind: str) -> type[Optimizer]:
    """Return the class of that name in the module, or in its submodule `optim`."""
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise WorkloadError(f"optimizer {name!r}: importing {module_name} raised {reason(error)}") from error
    places = [module, *(part for part in [getattr(module, "optim", None)] if isinstance(part, ModuleType))]
    classes: dict[str, type[Optimizer]] = {
        key: value for place in places for key, value in vars(place).items() if _is_optimizer(value)
    }
    if kind not in classes:
        hint = did_you_mean(kind, classes)
        raise WorkloadError(f"optimizer {name!r}: {module_name} has no optimizer class {kind}{hint}")
    return classes[kind]


def _is_optimizer(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Optimizer) and value is not Optimizer
