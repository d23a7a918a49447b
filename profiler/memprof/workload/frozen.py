"""Freeze parameters by name: they keep their values, and have neither gradients nor optimizer state."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from memprof.errors import WorkloadError, did_you_mean


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Freeze the parameters whose names match a pattern, and train those that match one after ``!``.

    The last pattern that matches a name decides; a parameter that none matches stays as it is. A parameter with several
    names, such as tied weights, has the first of them.

    Raises:
        WorkloadError: a pattern matches no parameter, or no parameter is left to train.
    """
    parameters = dict(model.named_parameters())
    for pattern in patterns:
        wanted = pattern.removeprefix("!")
        matching = [name for name in parameters if fnmatchcase(name, wanted)]
        if not matching:
            raise WorkloadError(f"freeze: {pattern!r} matches no parameter{_hint(wanted, list(parameters))}")
        for name in matching:
            trained = pattern.startswith("!")
            if trained and not parameters[name].is_floating_point():
                raise WorkloadError(
                    f"freeze: {pattern!r}: {name} has {parameters[name].dtype} values, so it stays frozen"
                )
            parameters[name].requires_grad_(trained)
    if patterns and not any(parameter.requires_grad for parameter in parameters.values()):
        last = next(reversed(parameters))
        raise WorkloadError(
            f"freeze: all parameters are frozen, so there is nothing to train; add for example '!{last}'"
        )


def trained_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that have gradients, each once: those that an optimizer is given."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _hint(pattern: str, names: Sequence[str]) -> str:
    if not names:
        return "; the model has none"
    modules = {name.rpartition(".")[0] for name in names} - {""}
    near = did_you_mean(pattern.rstrip(".*"), [*names, *modules])
    return near or f"; a name of this model is {names[0]}"
