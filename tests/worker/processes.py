"""Processes as the tests of the worker look at them, from outside."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

_DEADLINE_SECONDS = 60.0


def is_alive(process: int) -> bool:
    """Whether the process has not ended; a zombie has."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children_of(process: int) -> list[int]:
    """Return the process ids of the children, zombies included."""
    return [
        int(child)
        for task in Path(f"/proc/{process}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def wait_for(condition: Callable[[], object], seconds: float = _DEADLINE_SECONDS) -> None:
    """Wait until `condition` is true; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
