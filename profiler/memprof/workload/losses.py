"""Find a loss by name, and apply it to what a model returns: a tensor, tuple, dict or object with fields."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from memprof.config.schema import LossConfig, SweepConfig
from memprof.errors import WorkloadError, did_you_mean
from memprof.workload.reason import reason

Loss = Callable[[Any, Tensor | None], Tensor]


def build_loss(config: SweepConfig) -> Loss:
    """Return a function of (output of the model, target) that returns the loss, a scalar tensor.

    ``sum`` adds up the output; ``output`` takes the loss that the model returns; any other name is a
    function of `torch.nn.functional` or a class of `torch.nn` that takes an input and a target. Auxiliary
    heads (fields ``aux...``, as in torchvision's GoogLeNet and FCN) add their own loss to that of the first.

    Raises:
        WorkloadError: no loss has this name, it refuses its keyword arguments, or the config has no target.
    """
    spec = config.loss
    if spec.name == "sum":
        return _sum
    if spec.name == "output":
        return _own_loss
    criterion = _criterion(spec)
    if config.target is None:
        raise WorkloadError(f"loss {spec.name!r} needs a target; add `target:`, or choose the loss sum or output")
    return partial(_compare, criterion)


def _compare(criterion: Callable[..., Tensor], output: Any, target: Tensor | None) -> Tensor:
    losses = [criterion(prediction, target) for prediction in predictions(output)]
    return losses[0] if len(losses) == 1 else torch.stack(losses).sum()


def predictions(output: Any) -> list[Tensor]:
    """Return the model's prediction (field ``logits``, or the first tensor), followed by auxiliary ones.

    Raises:
        WorkloadError: there is no tensor in `output`.
    """
    fields = _fields(output)
    tensors = {key: value for key, value in fields.items() if isinstance(value, Tensor)}
    if not tensors:
        raise WorkloadError(f"the model returned {type(output).__name__} without a tensor for the loss")
    first = "logits" if "logits" in tensors else next(iter(tensors))
    auxiliary = [value for key, value in tensors.items() if key.startswith("aux") and key != first]
    return [tensors[first], *auxiliary]


def _sum(output: Any, target: Tensor | None) -> Tensor:
    del target
    return predictions(output)[0].sum()


def _own_loss(output: Any, target: Tensor | None) -> Tensor:
    del target
    fields = _fields(output)
    loss = fields.get("loss", next(iter(fields.values()), None))
    if isinstance(loss, Tensor) and loss.numel() == 1:
        return loss
    what = f"a tensor of shape {list(loss.shape)}" if isinstance(loss, Tensor) else type(output).__name__
    raise WorkloadError(f"loss 'output' needs a model that returns its loss, a scalar; this one returned {what}")


def _fields(output: Any) -> Mapping[str, Any]:
    """Return `output` as a mapping of names to values; the names of a sequence are its indices."""
    if isinstance(output, Tensor):
        return {"0": output}
    if isinstance(output, Mapping):
        return {str(key): value for key, value in output.items()}
    if hasattr(output, "_asdict"):
        named: Mapping[str, Any] = output._asdict()
        return named
    if isinstance(output, (tuple, list)):
        return {str(index): value for index, value in enumerate(output)}
    return dict(vars(output)) if hasattr(output, "__dict__") else {}


def _criterion(spec: LossConfig) -> Callable[..., Tensor]:
    try:
        if _is_class(spec.name):
            module: Callable[..., Tensor] = getattr(nn, spec.name)(**spec.kwargs)
            return module
        if _is_function(spec.name):
            function = getattr(nn.functional, spec.name)
            inspect.signature(function).bind(None, None, **spec.kwargs)
            return partial(function, **spec.kwargs)
    except Exception as error:
        raise WorkloadError(f"loss {spec.name!r} cannot be built: {reason(error)}") from error
    known = [*filter(_is_function, vars(nn.functional)), *filter(_is_class, nn.modules.loss.__all__)]
    hint = did_you_mean(spec.name, [*known, "sum", "output"])
    raise WorkloadError(f"loss {spec.name!r} is not in torch.nn.functional or torch.nn{hint}")


def _is_function(name: str) -> bool:
    function = vars(nn.functional).get(name)
    return inspect.isfunction(function) and _first_two(function) == ("input", "target")


def _is_class(name: str) -> bool:
    return name in nn.modules.loss.__all__ and _first_two(getattr(nn, name).forward) == ("input", "target")


def _first_two(function: Callable[..., object]) -> tuple[str, ...]:
    names = [name for name in inspect.signature(function).parameters if name != "self"]
    return tuple(names[:2])
