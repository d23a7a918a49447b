"""Questions that a process asks the phantom it runs on."""

from __future__ import annotations

import ctypes


def unknown_workspaces() -> int | None:
    """Return how many workspaces of this process cuDNN did not tell, or ``None`` on a real GPU."""
    try:
        count = ctypes.CDLL(None).phantom_unknown_workspaces
    except AttributeError:
        return None
    count.restype = ctypes.c_uint64
    return int(count())
