"""Arguments and results of operators: values in nested lists and tuples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def map_nested(change: Callable[[Any], Any], value: Any) -> Any:
    """Return `value` with `change` applied to everything in its lists, tuples and dictionaries."""
    if isinstance(value, (list, tuple)):
        return type(value)(map_nested(change, item) for item in value)
    if isinstance(value, dict):
        return {key: map_nested(change, item) for key, item in value.items()}
    return change(value)


def flatten(value: Any) -> Iterator[Any]:
    """Yield everything in nested lists, tuples and dictionaries, in order."""
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from flatten(item)
    elif isinstance(value, dict):
        yield from flatten(list(value.values()))
    else:
        yield value
