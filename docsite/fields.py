"""The fields of a saved dataclass: name, type, and the comment that stands next to the field in its source."""

from __future__ import annotations

import inspect
import io
import tokenize
from collections.abc import Mapping
from dataclasses import fields
from importlib import import_module
from typing import Any

from docsite.markdown import code, sentence, table

_JSON_TYPES = {"int": "integer", "str": "text", "float": "number", "bool": "true or false", "None": "null"}


def fields_reference(path: str) -> str:
    """Return a table of the fields of the class at `path`, such as ``memprof.records.Trial``."""
    kind = find_class(path)
    comments = field_comments(kind)
    rows = [
        (code(field.name), json_type(str(field.type)), sentence(comments.get(field.name, ""))) for field in fields(kind)
    ]
    return table(("field", "type", "meaning"), rows)


def find_class(path: str) -> Any:
    """Import and return the class at a dotted path."""
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def field_comments(kind: type[Any]) -> Mapping[str, str]:
    """Return the trailing comment of each field that has one, by the field's name."""
    names = {field.name for field in fields(kind)}
    found: dict[str, str] = {}
    current = ""
    for token in tokenize.generate_tokens(io.StringIO(inspect.getsource(kind)).readline):
        if token.type == tokenize.NAME and token.string in names and token.line.lstrip().startswith(f"{token.string}:"):
            current = token.string
        elif token.type == tokenize.COMMENT and current and not token.line.lstrip().startswith("#"):
            found[current] = token.string.lstrip("# ")
        elif token.type == tokenize.NEWLINE:
            current = ""
    return found


def json_type(annotation: str) -> str:
    """Return an annotation in the words of JSON: ``int | None`` is ``integer or null``."""
    choices = [choice.strip() for choice in annotation.split("|")]
    return " or ".join(_one_type(choice) for choice in choices)


def _one_type(name: str) -> str:
    if name in _JSON_TYPES:
        return _JSON_TYPES[name]
    for prefix in ("tuple[", "list[", "Sequence["):
        if name.startswith(prefix):
            inner = name.removeprefix(prefix).removesuffix("]").removesuffix(", ...")
            return f"list of {_one_type(inner)}"
    if name.startswith(("dict[", "Mapping[")) or name == "Parts":
        return "mapping"
    return code(name)
