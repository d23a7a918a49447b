"""How a process ended, in a row's words, and how to make it end together with its parent."""

from __future__ import annotations

import ctypes
import os
import signal

from memprof.records import Status

_PR_SET_PDEATHSIG = 1  # prctl(2)
_CRASHES = frozenset(
    {
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGABRT,
        signal.SIGILL,
        signal.SIGFPE,
        signal.SIGSYS,
        signal.SIGTRAP,
    }
)


def explain_exit(exit_code: int) -> tuple[Status, str]:
    """Return status and reason of a process that ended without an answer.

    `exit_code` is that of `subprocess` and `os.waitstatus_to_exitcode`: a signal's number, negated, or the
    exit status. A signal that the process brought on itself is an error; one from outside killed it.
    """
    if exit_code >= 0:
        return Status.ERROR, f"the process exited with status {exit_code} before it had a result"
    number = -exit_code
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    if number in _CRASHES:
        return Status.ERROR, f"crashed: {name}"
    hint = " (perhaps by the system, out of host memory)" if number == signal.SIGKILL else ""
    return Status.KILLED, f"killed by {name}{hint}"


def die_with(parent: int) -> None:
    """Have the kernel kill this process when the process `parent` ends; Linux only, elsewhere do nothing."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is None:
        return
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the line above
        os._exit(1)
