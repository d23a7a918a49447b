"""Any optimizer of torch.optim, by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch.nn import Parameter
from torch.optim import Optimizer

from profiler.config import Kwargs, OptimizerConfig
from profiler.errors import WorkloadError
from profiler.nearest import did_you_mean
from profiler.workload.reason import reason


def build_optimizer(spec: OptimizerConfig, parameters: Iterable[Parameter]) -> Optimizer:
    """Return the optimizer that `spec` names, over `parameters`.

    Raises:
        WorkloadError: the name is not one of torch.optim, the class refuses the keyword arguments or the
            parameters, or its step needs what memprof's step does not give.
    """
    kind, defaults = _find(spec.name)
    if kind is torch.optim.LBFGS:
        raise WorkloadError(
            f"optimizer {spec.name!r} runs the model again within its step (a closure), "
            "and memprof's step runs it once; choose another optimizer"
        )
    try:
        return kind(parameters, **{**defaults, **spec.kwargs})
    except Exception as error:
        raise WorkloadError(f"optimizer {spec.name!r} cannot be built: {reason(error)}") from error


def _find(name: str) -> tuple[type[Optimizer], Kwargs]:
    """Return the class that `name` means, in any case, and the keyword arguments that the name implies."""
    variants: Mapping[str, Kwargs] = {
        "sgd+momentum": {"momentum": 0.9},
        "sgd+nesterov": {"momentum": 0.9, "nesterov": True},
    }
    classes = {key.lower(): value for key, value in vars(torch.optim).items() if _is_optimizer(value)}
    if name.lower() in variants:
        return torch.optim.SGD, variants[name.lower()]
    if name.lower() not in classes:
        hint = did_you_mean(name, [*classes, *variants])
        raise WorkloadError(f"optimizer {name!r} is not in torch.optim{hint}")
    return classes[name.lower()], {}


def _is_optimizer(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Optimizer) and value is not Optimizer
