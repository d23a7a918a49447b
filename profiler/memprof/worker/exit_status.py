"""The status and reason of a row whose process ended without a reply."""

from __future__ import annotations

import signal

from memprof.records import Status

# Signals that a process causes itself, by a fault or by abort().
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
    """Return status and reason of a process that ended without a reply.

    `exit_code` is that of `subprocess` and `os.waitstatus_to_exitcode`: the exit status, or minus the number of the
    signal. A signal that the process caused itself is an error; any other signal killed it.
    """
    if exit_code >= 0:
        return Status.ERROR, f"the process exited with status {exit_code} before it had a result"
    number = -exit_code
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    if number in _CRASHES:
        return Status.ERROR, f"crashed: {name}"
    hint = " (perhaps by the kernel, because host memory ran out)" if number == signal.SIGKILL else ""
    return Status.KILLED, f"killed by {name}{hint}"
