"""Ctrl-C, SIGTERM and SIGHUP: one line and the exit status 128 + signal, from the first moment on.

Until a command runs there is nothing to clean up, so a signal ends the process at once. While a command runs, a signal
raises `Interrupted`, so that context managers end workers and close results.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager, suppress

TYPE_CHECKING = False  # as in typing, whose import would be most of the time until the command handles signals
if TYPE_CHECKING:
    from collections.abc import Iterator
    from sys import UnraisableHookArgs
    from types import FrameType

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_AGAIN_SECONDS = 0.01  # until a signal that Python could not raise is sent again
NOTHING_SAVED = "nothing was saved"


class Interrupted(BaseException):
    """A signal arrived while a command ran. Notes on the exception name what was saved.

    It is no KeyboardInterrupt, since typer turns one into a silent exit.
    """


class Interruptions:
    """The signals of this process; `received` is the number of the first one that a running command got."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._raising = False

    def install(self) -> None:
        """Handle the signals from now on, except those that the caller ignores, as `nohup` does SIGHUP."""
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._handle)
        sys.unraisablehook = self._unraisable

    @contextmanager
    def raising(self) -> Iterator[None]:
        """Let a signal raise `Interrupted` within the block instead of ending the process at once."""
        self._raising = True
        try:
            yield
        finally:
            self._raising = False

    def describe(self) -> str:
        """Return ``interrupted``, and by which signal unless it was Ctrl-C."""
        return describe(self.received or signal.SIGINT)

    @property
    def exit_status(self) -> int:
        """What a shell reports for a command that the signal ended."""
        return 128 + (self.received or signal.SIGINT)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if not self._raising:
            with suppress(OSError):
                os.write(2, f"memprof: {describe(number)}; {NOTHING_SAVED}\n".encode())
            os._exit(128 + number)
        self.received = self.received or number
        raise Interrupted

    def _unraisable(self, args: UnraisableHookArgs) -> None:
        """Send the signal again if Python dropped the exception, as it does in ``__del__`` and in callbacks."""
        if isinstance(args.exc_value, Interrupted) and self.received is not None:
            import threading

            threading.Timer(_AGAIN_SECONDS, os.kill, (os.getpid(), self.received)).start()
        else:
            sys.__unraisablehook__(args)


def describe(number: int) -> str:
    """Return ``interrupted``, and by which signal unless it was Ctrl-C."""
    return "interrupted" if number == signal.SIGINT else f"interrupted by {signal.Signals(number).name}"
