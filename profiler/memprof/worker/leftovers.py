"""Processes that a model started and left running, and the ledgers of phantoms that were killed."""

from __future__ import annotations

import os
import secrets
import select
import signal
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from memprof.gpus.phantom.ledger import running_ledgers

MARK = "MEMPROF_WORKER"  # a variable with another value for each worker server
_WAIT_SECONDS = 1.0  # until processes that were sent SIGKILL are gone; one in a driver call may take longer


@dataclass(frozen=True, kw_only=True)
class ServerMark:
    """What a worker server and all processes that it or a model started have in common."""

    variable: bytes  # NAME=value, in the environment of each process that was started as a new program
    pipe: str | None  # to which each process prints that was only forked, or that has its parent's output
    on_phantom: bool


def new_mark() -> dict[str, str]:
    """Return the variable that marks one worker server; no other has the same value."""
    return {MARK: secrets.token_hex(16)}


def mark_of(environment: Mapping[str, str], output: int) -> ServerMark:
    """Return the mark of the worker server that has this environment and prints to the descriptor `output`."""
    marked = environment if MARK in environment else new_mark()  # which nobody has
    status = os.fstat(output)
    return ServerMark(
        variable=f"{MARK}={marked[MARK]}".encode(),
        # Only the number of a pipe is unique among pipes; a file may have the number of some other pipe.
        pipe=f"pipe:[{status.st_ino}]" if stat.S_ISFIFO(status.st_mode) else None,
        on_phantom="MEMPROF_PHANTOM" in environment,
    )


def end_leftovers(mark: ServerMark) -> None:
    """End all other processes with the mark, and remove phantoms' ledgers that no process uses.

    A process is found in any group and session and with any parent. It is missed only if it was started both without
    its parent's environment and without its parent's output.
    """
    killed = [process for pid in _other_processes() if (process := _kill_marked(pid, mark)) is not None]
    deadline = time.monotonic() + _WAIT_SECONDS
    for process in killed:
        _wait(process, deadline)
    if mark.on_phantom:
        with suppress(OSError):  # the folder cannot be read
            running_ledgers()  # removes the others


def _other_processes() -> Iterator[int]:
    for folder in Path("/proc").glob("[0-9]*"):
        if folder.name != str(os.getpid()):
            yield int(folder.name)


def _kill_marked(pid: int, mark: ServerMark) -> int | None:
    """Kill the process and return its pidfd; ``None`` if it does not have the mark, or has ended."""
    try:
        process = os.pidfd_open(pid)  # before the mark is read, since the number may then pass to another process
    except OSError:
        return None
    with suppress(OSError):  # it has ended, or is another user's
        if _has(pid, mark):
            signal.pidfd_send_signal(process, signal.SIGKILL)
            return process
    os.close(process)
    return None


def _has(pid: int, mark: ServerMark) -> bool:
    folder = Path(f"/proc/{pid}")
    if mark.variable in (folder / "environ").read_bytes().split(b"\0"):
        return True
    return mark.pipe is not None and any(_target(folder / "fd" / number) == mark.pipe for number in "12")


def _target(link: Path) -> str | None:
    try:
        return os.readlink(link)
    except FileNotFoundError:  # the process has closed it
        return None


def _wait(process: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(process, select.POLLIN)
    poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
    os.close(process)
