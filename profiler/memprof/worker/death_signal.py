"""The signal with which the kernel ends a process whose parent has ended; Linux only, elsewhere nothing happens."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1  # prctl(2)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when the process `parent` ends, or the thread of it that started this one."""
    _set_death_signal(signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the line above
        os._exit(1)


def outlive_parent() -> None:
    """Undo `die_with`, so that this process can end its own children before it ends."""
    _set_death_signal(0)


def _set_death_signal(number: int) -> None:
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, number)
