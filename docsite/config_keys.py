"""The keys of a config file, read from the JSON Schema that `memprof schema` prints."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from docsite.markdown import code, sentence
from memprof.config.load import json_schema

Schema = Mapping[str, Any]
_SECTION_HEADINGS = {  # of a nested section: the words that name it in a key's type
    "ModelConfig": "model",
    "TensorConfig": "tensor",
    "LossConfig": "loss",
    "OptimizerConfig": "optimizer",
    "BatchRange": "batch range",
    "CudnnConfig": "cudnn",
}
_TYPES = {"array": "list", "boolean": "true or false", "object": "mapping", "string": "text", "null": "null"}


def config_reference() -> str:
    """Return a section for each key of the file, then one for each nested section, as Markdown."""
    schema = json_schema()
    definitions = {name: part for name, part in schema["$defs"].items() if "properties" in part}
    parts = ["## Keys", *_keys(schema, schema, "###")]
    for name, definition in definitions.items():
        parts += [f"## Section: {_SECTION_HEADINGS[name]}", _paragraph(definition["description"])]
        parts += _keys(definition, schema, "###")
    return "\n\n".join(parts)


def _keys(section: Schema, schema: Schema, heading: str) -> Iterator[str]:
    for key, value in section["properties"].items():
        yield f"{heading} `{key}`"
        yield sentence(value["description"])
        yield "\n".join(f"- {line}" for line in _facts(key, value, section, schema))


def _facts(key: str, value: Schema, section: Schema, schema: Schema) -> Iterator[str]:
    yield f"Type: {_type(value, schema)}"
    if key in section.get("required", ()):
        yield "Required"
    elif "default" in value:
        yield f"Default: {_default(value['default'])}"
    limits = _limits(value)
    if limits:
        yield f"Limits: {limits}"
    if "examples" in value:
        yield f"Examples: {', '.join(code(_yaml(example)) for example in value['examples'])}"


def _type(value: Schema, schema: Schema) -> str:
    if "anyOf" in value:
        return " or ".join(dict.fromkeys(_type(choice, schema) for choice in value["anyOf"]))
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        target = schema["$defs"][name]
        if "enum" in target:
            return "one of " + ", ".join(code(str(item)) for item in target["enum"])
        words = _SECTION_HEADINGS[name]
        return f"[{words} section](#section-{words.replace(' ', '-')})"
    if "enum" in value:
        return "one of " + ", ".join(code(str(item)) for item in value["enum"])
    kind = str(value["type"])
    if kind == "array" and "items" in value:
        return f"list of ({_type(value['items'], schema)})"
    if kind == "array" and "prefixItems" in value:
        return "list of " + ", ".join(_type(item, schema) for item in value["prefixItems"])
    return _TYPES.get(kind, kind)


def _limits(value: Schema) -> str:
    words = {
        "minimum": "at least",
        "exclusiveMinimum": "more than",
        "maximum": "at most",
        "minItems": "items at least",
        "pattern": "pattern",
    }
    return ", ".join(f"{text} {code(_number(value[key]))}" for key, text in words.items() if key in value)


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _default(value: Any) -> str:
    if value is None:
        return "not set"
    return code(_yaml(value)) if value != {} else "empty"


def _yaml(value: Any) -> str:
    """Return a value as one line that YAML reads: JSON, with bare words where they need no quotes."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return f"[{', '.join(_yaml(item) for item in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml(item)}" for key, item in value.items() if item != {}) + "}"
    return json.dumps(value)


def _paragraph(text: str) -> str:
    return text.replace("``", "`")
