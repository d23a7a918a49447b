"""The keys of a config as `--set` takes them, with their values where there are few."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from functools import cache
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from memprof.config.schema import SweepConfig
from memprof.config.tensors import TensorConfig

_SINGULAR = {"optimizers": "optimizer", "batch_sizes": "batch_size"}


@cache
def config_keys() -> Mapping[str, Sequence[str]]:
    """Return every key, dotted within sections, with its values; none if any value may be written."""
    return dict(_keys(SweepConfig, ""))


def _keys(section: type[BaseModel], prefix: str) -> Iterator[tuple[str, Sequence[str]]]:
    for name, field in section.model_fields.items():
        kinds = list(_kinds(field.annotation))
        yield f"{prefix}{name}", [value for kind in kinds for value in _values(kind)]
        written = _SINGULAR.get(name, name)
        if written != name:
            yield f"{prefix}{written}", ()
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel) and kind is not TensorConfig:
                yield from _keys(kind, f"{prefix}{written}.")


def _kinds(annotation: Any) -> Iterator[Any]:
    """Yield the types within an annotation: those of a union, a list or with metadata."""
    if get_origin(annotation) is Literal or not get_args(annotation):
        yield annotation
        return
    for argument in get_args(annotation):
        yield from _kinds(argument)


def _values(kind: Any) -> list[str]:
    if kind is bool:
        return ["true", "false"]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return [str(member.value) for member in kind]
    return [str(value) for value in get_args(kind)] if get_origin(kind) is Literal else []
