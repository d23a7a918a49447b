"""The options that describe a model, which every command with a config or a model takes.

`takes_model` adds them to a command, so that each is declared once.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from types import MappingProxyType
from typing import Annotated, Any, get_type_hints

import typer

from memprof.cli import completion
from memprof.config.overrides import Flag, Override

ModelOptions = tuple[Override, ...]

_PANEL = "Model"


def _option(flag: Flag, metavar: str, text: str, complete: Any = None) -> Any:
    return typer.Option(flag.value, metavar=metavar, help=text, rich_help_panel=_PANEL, autocompletion=complete)


_OPTIONS: Mapping[Flag, Any] = MappingProxyType(
    {
        Flag.INPUT: Annotated[
            list[str] | None, _option(Flag.INPUT, "SHAPE", "3x224x224, 128:int64:0-999, NAME=SHAPE.")
        ],
        Flag.TARGET: Annotated[str | None, _option(Flag.TARGET, "SHAPE", "What the loss compares, as --input.")],
        Flag.CLASSES: Annotated[str | None, _option(Flag.CLASSES, "N", "Number of classes.")],
        Flag.SEQ_LEN: Annotated[str | None, _option(Flag.SEQ_LEN, "N", "Tokens per sample of a language model.")],
        Flag.LOSS: Annotated[str | None, _option(Flag.LOSS, "NAME", "cross_entropy, mse_loss, sum, output or others.")],
        Flag.PRECISION: Annotated[
            str | None, _option(Flag.PRECISION, "NAME", "fp32, bf16, amp-bf16 or others.", completion.precisions)
        ],
        Flag.PARALLEL: Annotated[str | None, _option(Flag.PARALLEL, "MESH", "GPUs: shard=8,tensor=8 or replicate=8.")],
        Flag.WORLD_SIZE: Annotated[str | None, _option(Flag.WORLD_SIZE, "N", "Number of GPUs; alone: FSDP2.")],
        Flag.VALUES: Annotated[
            str | None, _option(Flag.VALUES, "HOW", "Of simulated tensors: zeros, or cpu (slower).", completion.values)
        ],
    }
)


def takes_model(command: Callable[..., int]) -> Callable[..., int]:
    """Give `command` the options of `_OPTIONS`; it gets those that were typed as its argument `model`."""

    @wraps(command)
    def with_options(**given: Any) -> int:
        typed = {flag: given.pop(_parameter(flag)) for flag in _OPTIONS}
        return command(**given, model=_overrides(typed))

    own = inspect.signature(command)
    hints = get_type_hints(command, include_extras=True)
    added = [
        inspect.Parameter(_parameter(flag), inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for flag, annotation in _OPTIONS.items()
    ]
    kept = [
        parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in own.parameters.items()
        if name != "model"
    ]
    with_options.__signature__ = inspect.Signature([*kept, *added])  # type: ignore[attr-defined]
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in (*kept, *added)}
    return with_options


def _parameter(flag: Flag) -> str:
    return flag.value.removeprefix("--").replace("-", "_") + "_"


def _overrides(typed: dict[Flag, Any]) -> ModelOptions:
    pairs = [
        (flag, text)
        for flag, value in typed.items()
        for text in (value if isinstance(value, list) else [value])
        if text is not None
    ]
    return tuple(Override(flag=flag, text=text) for flag, text in pairs)
