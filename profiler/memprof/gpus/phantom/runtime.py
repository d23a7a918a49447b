"""What a process can ask the phantom that it runs on."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from functools import cache
from typing import cast


def unknown_workspaces() -> int | None:
    """Return how many workspaces of this process have an unknown or modelled size; ``None`` on a real GPU."""
    return _count("phantom_unknown_workspaces")


def communicators() -> int | None:
    """Return how many communicators of NCCL this process has made; ``None`` on a real GPU."""
    return _count("phantom_communicators")


def set_absent_peers(communicator_bytes: int | None) -> None:
    """Let this process be one rank of many, whose other ranks do not exist; call it before NCCL is used.

    Each communicator then takes `communicator_bytes` of the GPU's memory, and none if that is ``None``.
    """
    os.environ["MEMPROF_PHANTOM_PEERS"] = "absent"
    os.environ["MEMPROF_PHANTOM_NCCL_BYTES"] = str(communicator_bytes or 0)


def zeros_read() -> int | None:
    """Return how many unknown results of kernels this process has read, each as zeros; ``None`` on a real GPU."""
    return _count("phantom_zeros_read")


def _count(name: str) -> int | None:
    count = _counter(name)
    return None if count is None else int(count())


@cache
def _counter(name: str) -> Callable[[], int] | None:
    try:
        count = getattr(ctypes.CDLL(None), name)
    except AttributeError:
        return None
    count.restype = ctypes.c_uint64
    return cast("Callable[[], int]", count)
