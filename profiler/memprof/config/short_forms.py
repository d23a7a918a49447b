"""The short forms that a file may use for some keys, each with the schema of the values that it accepts."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Discriminator, Field, Tag

from memprof.config.sections import (
    MAX_BATCH_SIZES,
    MAX_OPTIMIZERS,
    BatchRange,
    Count,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    named,
)
from memprof.config.tensors import Part, TensorConfig, is_part

# A keyword argument of the model's forward.
ParameterName = Annotated[str, Field(strict=True, pattern=r"^[A-Za-z_]\w*$", max_length=100)]


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, dict | str | BaseModel) else value


def _sizes(value: Any) -> Any:
    return [value] if isinstance(value, int) else value


def _list_of_named(value: Any) -> Any:
    value = _listed(value)
    return [named(item) for item in value] if isinstance(value, list | tuple) else value


def _list_or_range(value: Any) -> str:
    return "range" if isinstance(value, dict | BatchRange) else "list"


def _one_part(value: Any) -> Any:
    return [value] if is_part(value) or isinstance(value, TensorConfig) else value


def _positional_or_keywords(value: Any) -> str:
    return "keywords" if isinstance(value, dict) else "positional"


ModelKey = Annotated[ModelConfig, BeforeValidator(named, json_schema_input_type=str | ModelConfig)]
LossKey = Annotated[LossConfig, BeforeValidator(named, json_schema_input_type=str | LossConfig)]
InputsKey = Annotated[
    Annotated[tuple[Part, ...], Field(min_length=1), Tag("positional")]
    | Annotated[dict[ParameterName, Part], Field(min_length=1), Tag("keywords")],
    Discriminator(_positional_or_keywords),
    BeforeValidator(_one_part, json_schema_input_type=Part),
]
OptimizersKey = Annotated[
    tuple[OptimizerConfig, ...],
    Field(max_length=MAX_OPTIMIZERS),
    BeforeValidator(_list_of_named, json_schema_input_type=str | OptimizerConfig | tuple[str | OptimizerConfig, ...]),
]
BatchSizesKey = Annotated[
    Annotated[tuple[Count, ...], Field(min_length=1, max_length=MAX_BATCH_SIZES), Tag("list")]
    | Annotated[BatchRange, Tag("range")],
    Discriminator(_list_or_range),
    BeforeValidator(_sizes, json_schema_input_type=Count | tuple[Count, ...] | BatchRange),
]
