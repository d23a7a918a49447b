"""Repeated modules as one line, and the depth to which a tree of modules is shown.

Consecutive modules of one parent are one group if they have the same type, parameters, output shapes and submodules,
as the layers of a transformer. A group's line has the sum of its members, so that lines still add up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

TIMES = "×"
GROUPS_NOTE = f"{TIMES}N: the sum over N equal modules."
_MOST_LINES = 40  # of a tree whose depth nobody chose
_DEEPEST = 3  # as torchinfo, unless a line would hide more than half


@dataclass(frozen=True)
class _Node:
    row: Any  # of a summary or of an explanation: a frozen dataclass
    children: tuple[_Node, ...]


def grouped(rows: Sequence[Any]) -> list[Any]:
    """Return the rows in the same order with those of repeated modules merged; the first is the model itself."""
    root, _ = _node(rows, 0)
    return _flat(_with_groups(root), root.row.path)


def chosen_depth(rows: Sequence[Any]) -> int:
    """Return how deep a tree is shown by default.

    It is deep enough that no line hides more than half of the memory in one of its modules, and else as deep as it
    stays short.
    """
    deepest = max(row.depth for row in rows)
    least = next((depth for depth in range(deepest) if not _hides_half(rows, depth)), deepest)
    fitting = [depth for depth in range(_DEEPEST + 1) if sum(row.depth <= depth for row in rows) <= _MOST_LINES]
    return min(max(least, *fitting, 0), deepest) if fitting else least


def _hides_half(rows: Sequence[Any], depth: int) -> bool:
    """Whether a line at `depth` has modules below it, and more than half of the whole model's memory."""
    whole = _size(rows[0].parts)
    parents = {row.path.rpartition(".")[0] for row in rows if row.path}
    return any(row.depth == depth and row.path in parents and 2 * _size(row.parts) > whole for row in rows)


def _size(parts: Mapping[str, int | None]) -> int:
    return sum(size or 0 for size in parts.values())


def _node(rows: Sequence[Any], place: int) -> tuple[_Node, int]:
    """The node of the row at `place`, and the place after its last descendant."""
    row, following, children = rows[place], place + 1, []
    while following < len(rows) and rows[following].depth > row.depth:
        child, following = _node(rows, following)
        children.append(child)
    return _Node(row, tuple(children)), following


def _name(node: _Node) -> str:
    return str(node.row.path.rpartition(".")[2])


def _shape(node: _Node) -> tuple[Any, ...]:
    """What two nodes of a group have in common. A module that is registered elsewhere, or shares tensors, is alone."""
    row = node.row
    alone = node.row.path if getattr(row, "same_as", None) is not None or getattr(row, "shared", None) else ""
    return (alone, row.type, row.parameters, row.output_shapes, *((_name(c), _shape(c)) for c in node.children))


def _with_groups(node: _Node) -> _Node:
    runs = [list(members) for _, members in groupby(node.children, key=_shape)]
    named = [_merged(run, _group_name([_name(member) for member in run])) for run in runs]
    return _Node(node.row, tuple(_with_groups(child) for child in named))


def _merged(nodes: Sequence[_Node], name: str) -> _Node:
    """One node for all, with the sums of their figures; the paths of its descendants stay those of the first."""
    first = nodes[0].row
    if len(nodes) == 1:
        return nodes[0]
    parent = first.path.rpartition(".")[0]
    changes: dict[str, Any] = {
        "path": f"{parent}.{name}" if parent else name,
        "parameters": sum(node.row.parameters for node in nodes),
        "parts": _sum([node.row.parts for node in nodes]),
    }
    if hasattr(first, "trainable_parameters"):
        changes["trainable_parameters"] = sum(node.row.trainable_parameters for node in nodes)
    children = zip(*(node.children for node in nodes), strict=True)
    return _Node(replace(first, **changes), tuple(_merged(same, _name(same[0])) for same in children))


def _sum(parts: Sequence[Mapping[str, int | None]]) -> dict[str, int | None]:
    """The sums by category; unknown if one is."""
    names = dict.fromkeys(name for part in parts for name in part)
    sizes = {name: [part.get(name, 0) for part in parts] for name in names}
    return {name: None if None in found else sum(size or 0 for size in found) for name, found in sizes.items()}


def _group_name(names: Sequence[str]) -> str:
    """``0…11 ×12`` for numbers, ``layer_0…11 ×12`` for names with a number at the end, else ``first…last ×12``."""
    if len(names) == 1:
        return names[0]
    stem = re.sub(r"\d+$", "", names[0])
    return f"{names[0]}…{names[-1].removeprefix(stem)} {TIMES}{len(names)}"


def _flat(node: _Node, path: str) -> list[Any]:
    rows = [replace(node.row, path=path)]
    for child in node.children:
        rows += _flat(child, f"{path}.{_name(child)}" if path else _name(child))
    return rows
