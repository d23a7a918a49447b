"""Ranks as forked processes: torch is imported once, before CUDA is used."""

from __future__ import annotations

import os
import socket
import traceback
from collections.abc import Callable


def run_ranks(count: int, function: Callable[[], None]) -> list[int]:
    """Run `function` in `count` processes with the variables of torchrun; return the exit statuses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    children = [_start(rank, function) for rank in range(count)]
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def _start(rank: int, function: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    status = 1
    try:
        function()
        status = 0
    except BaseException:  # noqa: BLE001  the process ends here
        traceback.print_exc()
    os._exit(status)
