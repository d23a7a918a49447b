"""The keys of a config file, read from the JSON Schema that `memprof schema` prints."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from docsite.markdown import code, sentence
from memprof.config.load import json_schema

Schema = Mapping[str, Any]
_TYPES = {"array": "list", "boolean": "true or false", "object": "mapping", "string": "text", "null": "null"}


def config_reference() -> str:
    """Return a section for each key of the file, then one for each nested section, as Markdown."""
    schema = json_schema()
    parts = ["## Keys", *_keys(schema, schema, "###")]
    for name, definition in schema["$defs"].items():
        if "enum" not in definition:
            parts += _section(name, definition, schema)
    return "\n\n".join(parts)


def _section(name: str, definition: Schema, schema: Schema) -> Iterator[str]:
    """Yield the heading of a nested section, what it is, and its keys or its forms."""
    yield f"## Section: {_words(name)}"
    if "description" in definition:
        yield _paragraph(definition["description"])
    choices = _choices(definition)
    if choices:
        yield "\n".join(["One of:", "", *(f"- {_type(choice, schema)}" for choice in choices)])
    yield from _keys(definition, schema, "###")


def _words(name: str) -> str:
    """Return the words of a section's class: ``BatchRange`` is ``batch range``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.removesuffix("Config")).lower()


def _choices(value: Schema) -> Sequence[Schema]:
    choices: Sequence[Schema] = value.get("anyOf") or value.get("oneOf") or ()
    return choices


def _keys(section: Schema, schema: Schema, heading: str) -> Iterator[str]:
    for key, value in section.get("properties", {}).items():
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
    if _choices(value):
        return " or ".join(dict.fromkeys(_type(choice, schema) for choice in _choices(value)))
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        target = schema["$defs"][name]
        words = _words(name)
        return _type(target, schema) if "enum" in target else f"[{words} section](#section-{words.replace(' ', '-')})"
    if "enum" in value:
        return "one of " + ", ".join(code(str(item)) for item in value["enum"])
    kind = str(value["type"])
    return _container(value, schema) or _TYPES.get(kind, kind)


def _container(value: Schema, schema: Schema) -> str | None:
    """Return the type of a list or a mapping whose items the schema describes."""
    if "items" in value:
        return f"list of ({_type(value['items'], schema)})"
    if "prefixItems" in value:
        items = [f"({_type(item, schema)})" for item in value["prefixItems"]]
        return f"list of {len(items)}: {', '.join(items)}"
    values = [value.get("additionalProperties"), *value.get("patternProperties", {}).values()]
    described = [item for item in values if isinstance(item, dict)]
    return f"mapping of a name to ({_type(described[0], schema)})" if described else None


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
