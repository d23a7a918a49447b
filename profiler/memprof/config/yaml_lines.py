"""Parse YAML text to plain values and remember the line of each, which PyYAML's own values do not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from memprof.errors import one_line

KeyPath = tuple[str | int, ...]

_CORE = "tag:yaml.org,2002:"
_SCALARS = frozenset(_CORE + kind for kind in ("str", "int", "float", "bool", "null"))
# Far above any config. Together they bound the time that any text takes to about a second: PyYAML is written in Python.
_MAX_CHARACTERS = 1_000_000
_MAX_VALUES = 10_000
_MAX_DEPTH = 50  # Python and pydantic, which recurse, refuse some 200 levels
_MAX_NUMBER_LENGTH = 300
_MAX_INTEGER_BITS = 1023  # so that every integer fits into a float


@dataclass(frozen=True, kw_only=True)
class Document:
    """A YAML document: its value, and the line of every value in it by path, counted from 1."""

    value: Any
    lines: Mapping[KeyPath, int]


class YamlError(ValueError):
    """The text is not YAML, or not of the supported kind; `line` is ``None`` if the problem has no position."""

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem)
        self.problem = one_line(problem)
        self.line = line


def parse(text: str) -> Document:
    """Return the single YAML document in `text`; its value is ``None`` if `text` is empty.

    Values are JSON's: mappings with text as keys, lists, text, numbers, booleans and null. Unlike in YAML 1.1,
    ``1e-3`` is a number, a date is text, and a repeated key is an error.

    Raises:
        YamlError: `text` is not YAML, or not of that kind, or is too large.
    """
    if len(text) > _MAX_CHARACTERS:
        raise YamlError(f"longer than {_MAX_CHARACTERS:,} characters")
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return _Reader(loader).document(node)
    except yaml.reader.ReaderError as error:
        problem = f"broken YAML: the character U+{ord(text[error.position]):04X} is not allowed"
        raise YamlError(problem, text.count("\n", 0, error.position) + 1) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        raise YamlError(f"broken YAML: {problem}", mark.line + 1 if mark else None) from error
    finally:
        if loader is not None:
            loader.dispose()


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, with limits, and with the scalars of YAML 1.2 where those of 1.1 are surprising."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own class attribute
        first: [pair for pair in pairs if pair[0] not in (_CORE + "timestamp", _CORE + "merge", _CORE + "value")]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._nodes = self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Count nodes and levels while they are read, before all of them exist."""
        self._nodes += 1
        self._depth += 1
        line = int(self.line) + 1
        if self._nodes > _MAX_VALUES:
            raise YamlError(f"more than {_MAX_VALUES} values", line)
        if self._depth > _MAX_DEPTH:
            raise YamlError(f"nested too deeply: more than {_MAX_DEPTH} levels", line)
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


_Loader.add_implicit_resolver(
    _CORE + "float", re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+"), list("-+.0123456789")
)


class _Reader:
    """Convert nodes to values and remember the line of each."""

    def __init__(self, loader: _Loader) -> None:
        self._loader = loader
        self._lines: dict[KeyPath, int] = {}

    def document(self, node: yaml.Node | None) -> Document:
        value = None if node is None else self._value(node, (), ())
        return Document(value=value, lines=self._lines)

    def _value(self, node: yaml.Node, path: KeyPath, above: tuple[yaml.Node, ...]) -> Any:
        self._lines.setdefault(path, _line(node))
        if len(self._lines) > _MAX_VALUES:  # aliases multiply what was read
            raise YamlError(f"more than {_MAX_VALUES} values", _line(node))
        if any(node is outer for outer in above):
            raise YamlError("an alias is inside the value that it repeats", _line(node))
        if len(above) > _MAX_DEPTH:
            raise YamlError(f"nested too deeply: more than {_MAX_DEPTH} levels", _line(node))
        if isinstance(node, yaml.MappingNode) and node.tag == _CORE + "map":
            return self._mapping(node, path, (*above, node))
        if isinstance(node, yaml.SequenceNode) and node.tag == _CORE + "seq":
            return [self._value(item, (*path, i), (*above, node)) for i, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath, above: tuple[yaml.Node, ...]) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key, line = key_node.value, _line(key_node)
            if key_node.tag != _CORE + "str":
                shown = key if isinstance(key, str) else "in brackets"
                raise YamlError(f"the key {shown} is not text; put it in quotes", line)
            if key in mapping:
                raise YamlError(f"{key:.100}: given twice, first in line {self._lines[*path, key]}", line)
            self._lines[*path, key] = line
            mapping[key] = self._value(value_node, (*path, key), above)
        return mapping

    def _scalar(self, node: yaml.Node) -> Any:
        if not isinstance(node, yaml.ScalarNode) or node.tag not in _SCALARS:
            tag = node.tag.replace(_CORE, "!!")
            raise YamlError(f"the tag {tag:.100} is not supported; write plain text, numbers and lists", _line(node))
        kind = node.tag.removeprefix(_CORE)
        if kind in ("int", "float") and len(node.value) > _MAX_NUMBER_LENGTH:
            raise YamlError(f"{node.value!r:.60}... has too many digits", _line(node))
        try:
            value = self._loader.construct_object(node)
            node.value.encode()  # "\ud800" is half a character, which no file or terminal accepts
        except (ValueError, KeyError) as error:
            raise YamlError(f"{node.value!r:.60} cannot be read as {kind}", _line(node)) from error
        if isinstance(value, int) and value.bit_length() > _MAX_INTEGER_BITS:
            raise YamlError(f"{node.value!r:.60}... has too many digits", _line(node))
        return value


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
