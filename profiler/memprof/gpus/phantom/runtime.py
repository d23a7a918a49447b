"""What a process can ask the phantom that it runs on."""

from __future__ import annotations

import ctypes


def unknown_workspaces() -> int | None:
    """Return how many workspaces of this process have an unknown or modelled size; ``None`` on a real GPU."""
    try:
        count = ctypes.CDLL(None).phantom_unknown_workspaces
    except AttributeError:
        return None
    count.restype = ctypes.c_uint64
    return int(count())
