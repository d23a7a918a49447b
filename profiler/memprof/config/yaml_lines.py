"""YAML text as plain values, each with its line: what PyYAML constructs no longer knows where it stood."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

KeyPath = tuple[str | int, ...]

_CORE = "tag:yaml.org,2002:"
_SCALARS = frozenset(_CORE + kind for kind in ("str", "int", "float", "bool", "null"))
# Far above any config, far below what nested aliases can blow up to.
_MOST_VALUES = 10_000


@dataclass(frozen=True, kw_only=True)
class Document:
    """A YAML document: its value, and for the path of every value in it the line, counted from 1."""

    value: Any
    lines: Mapping[KeyPath, int]


class YamlError(ValueError):
    """The text is not YAML of the kind read here. `line` is ``None`` where the problem has no place."""

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line


def parse(text: str) -> Document:
    """Return the single YAML document in `text`; its value is ``None`` where `text` is empty.

    Values are JSON's: mappings with text as keys, lists, text, numbers, booleans and null. Unlike YAML 1.1,
    ``1e-3`` is a number, a date is text, and a key that is given twice is refused.

    Raises:
        YamlError: `text` is not YAML, or not of that kind.
    """
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
        said = ", ".join(part for part in (error.context, error.problem) if part)
        raise YamlError(f"broken YAML: {said}", mark.line + 1 if mark else None) from error
    except RecursionError as error:
        raise YamlError("nested too deeply") from error
    finally:
        if loader is not None:
            loader.dispose()


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2 where those of 1.1 surprise."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own class attribute
        first: [pair for pair in pairs if pair[0] not in (_CORE + "timestamp", _CORE + "merge", _CORE + "value")]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(
    _CORE + "float", re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+"), list("-+.0123456789")
)


class _Reader:
    """Nodes to values, noting the line of each."""

    def __init__(self, loader: _Loader) -> None:
        self._loader = loader
        self._lines: dict[KeyPath, int] = {}

    def document(self, node: yaml.Node | None) -> Document:
        value = None if node is None else self._value(node, (), ())
        return Document(value=value, lines=self._lines)

    def _value(self, node: yaml.Node, path: KeyPath, above: tuple[yaml.Node, ...]) -> Any:
        self._lines.setdefault(path, _line(node))
        if len(self._lines) > _MOST_VALUES:
            raise YamlError(f"more than {_MOST_VALUES} values", _line(node))
        if any(node is outer for outer in above):
            raise YamlError("an alias stands inside what it repeats", _line(node))
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
                raise YamlError(f"{key}: given twice, first in line {self._lines[*path, key]}", line)
            self._lines[*path, key] = line
            mapping[key] = self._value(value_node, (*path, key), above)
        return mapping

    def _scalar(self, node: yaml.Node) -> Any:
        if not isinstance(node, yaml.ScalarNode) or node.tag not in _SCALARS:
            tag = node.tag.replace(_CORE, "!!")
            raise YamlError(f"the tag {tag} is not supported; write plain text, numbers and lists", _line(node))
        try:
            value = self._loader.construct_object(node)
            node.value.encode()  # "\ud800" is half a character, which no file or terminal takes
        except (ValueError, KeyError) as error:
            kind = node.tag.removeprefix(_CORE)
            raise YamlError(f"{node.value!r:.60} cannot be read as {kind}", _line(node)) from error
        return value


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
