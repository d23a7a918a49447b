"""The sections of a config file that choose what of a model is trained, and in which form the rest is kept."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from memprof.config.sections import Kwargs

# A method of peft, `lora`, or the name of its configuration class, `LoraConfig`.
_Method = Annotated[str, Field(strict=True, pattern=r"^[A-Za-z]\w*$", max_length=100)]
_Pattern = Annotated[str, Field(strict=True, min_length=1, max_length=1000)]


def _with_arguments(value: Any) -> Any:
    """Return the long form of a method without arguments: ``lora``, or ``lora:`` with nothing after it."""
    if isinstance(value, str):
        return {value: {}}
    if isinstance(value, dict) and len(value) > 1:
        raise ValueError(f"names {len(value)} methods; write one of them")
    return {key: item or {} for key, item in value.items()} if isinstance(value, dict) else value


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


AdapterMethod = Annotated[
    dict[_Method, Kwargs],
    Field(min_length=1),
    BeforeValidator(_with_arguments, json_schema_input_type=str | dict[_Method, Kwargs | None]),
]
FreezePatterns = Annotated[
    tuple[_Pattern, ...], BeforeValidator(_listed, json_schema_input_type=str | tuple[_Pattern, ...])
]
