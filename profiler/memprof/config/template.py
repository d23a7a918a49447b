"""Write a complete config as YAML: every key of the schema with its value, and above it what it means."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from memprof.config.schema import BatchRange, LossConfig, ModelConfig, OptimizerConfig, SweepConfig

SCHEMA_FILE = "memprof.schema.json"
_WIDTH = 100
_HEADER = f"""\
# yaml-language-server: $schema={SCHEMA_FILE}
# For completion and checks in an editor, write that file next to this one: memprof schema > {SCHEMA_FILE}
"""


def write_template(config: SweepConfig) -> str:
    """Return the YAML of a file that `load` reads as `config`, with a comment for each key."""
    return _HEADER + "\n".join((*_section(config, ""), ""))


def _section(section: BaseModel, indent: str) -> Iterator[str]:
    for key, field in type(section).model_fields.items():
        if not indent:
            yield ""
        yield from _comment(field, indent)
        yield from _entry(key, getattr(section, key), indent)


def _comment(field: FieldInfo, indent: str) -> Iterator[str]:
    text = field.description or ""
    if field.examples:
        text = f"{text} For example {', '.join(map(_flow, field.examples))}."
    yield from (f"{indent}# {line}" for line in textwrap.wrap(text, _WIDTH - len(indent) - 2))


def _entry(key: str, value: Any, indent: str) -> Iterator[str]:
    """Yield the lines of one key: a section in a block of its own, anything else on one line."""
    if isinstance(value, BaseModel) and not isinstance(value, (ModelConfig, LossConfig)) and _is_section(value):
        yield f"{indent}{key}:"
        yield from _section(value, f"{indent}  ")
        return
    plain = _plain(value)
    if isinstance(plain, list) and any(isinstance(item, dict) for item in plain):
        yield f"{indent}{key}:"
        yield from (f"{indent}  - {_flow(item)}" for item in plain)
        return
    if isinstance(plain, dict) and any(isinstance(item, dict) for item in plain.values()):
        yield f"{indent}{key}:"
        yield from (f"{indent}  {name}: {_flow(item)}" for name, item in plain.items())
        return
    yield f"{indent}{key}: {_flow(plain)}"


def _is_section(value: BaseModel) -> bool:
    """Whether each key of `value` has a description; the parts of a batch are written on one line instead."""
    fields = type(value).model_fields
    return "shape" not in fields and "per_sample" not in fields


def _plain(value: Any) -> Any:
    """Return the value as a file has it, in the shortest form that `load` accepts."""
    match value:
        case BatchRange():
            return value.model_dump(mode="json")
        case OptimizerConfig():
            return _optimizer(value)
        case ModelConfig() | LossConfig():
            return {"name": value.name, "kwargs": dict(value.kwargs)} if value.kwargs else value.name
        case BaseModel():
            return {key: _plain(item) for key, item in value if item is not None and item != _default(value, key)}
        case Mapping():
            return {key: _plain(item) for key, item in value.items()}
        case tuple() | list():
            return [_plain(item) for item in value]
    return value.value if hasattr(value, "value") else value


def _default(value: BaseModel, key: str) -> Any:
    return type(value).model_fields[key].get_default()


def _optimizer(value: OptimizerConfig) -> Any:
    if OptimizerConfig(name=value.label) == value:
        return value.label
    return {"name": value.name, "kwargs": dict(value.kwargs), "label": value.label}


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True, sort_keys=False)
    return str(text).removesuffix("\n").removesuffix("\n...")
