"""Standard output and error that never raise: a write that fails is remembered, and reported once at the end.

A reader that has gone, such as `head`, is no reason to abandon a measurement: the results are in files. A full disk is
an error, which the command ends with.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from typing import IO, Any

_STANDARD = 3  # file descriptors: input, output, error


class GuardedFile(io.FileIO):
    """A file descriptor whose failed writes are dropped; `error` is the first of them."""

    def __init__(self, descriptor: int, closed_error: OSError | None) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self.error: OSError | None = None
        self._closed_error = closed_error

    def write(self, data: Any, /) -> int:
        """Write `data`, or drop it after the first failure."""
        self.error = self.error or self._closed_error
        if self.error is None:
            try:
                while (written := super().write(data)) is None:  # the other end is slow, and does not block
                    select.select((), (self.fileno(),), ())
                return written
            except OSError as error:
                self.error = error
        return memoryview(data).nbytes


def guard_streams() -> None:
    """Replace `sys.stdout` and `sys.stderr` by guarded ones; descriptors that the caller closed lead nowhere."""
    closed = _open_closed_descriptors()
    sys.stdout = _guarded(1, sys.stdout, closed)
    sys.stderr = _guarded(2, sys.stderr, closed)


def stdout_error() -> OSError | None:
    """Flush `sys.stdout` and return why it could not be written, if it could not."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.error if isinstance(raw, GuardedFile) else None


def describe_failure(error: OSError | None) -> str | None:
    """Return one line about output that was lost; ``None`` if none was, or its reader has gone."""
    if error is None or error.errno == errno.EPIPE:
        return None
    return f"cannot write to standard output: {error.strerror}"


def _open_closed_descriptors() -> dict[int, OSError]:
    """Open /dev/null as each standard descriptor that is closed, lest a file of results takes its number."""
    closed = {}
    for descriptor in range(_STANDARD):
        try:
            os.fstat(descriptor)
        except OSError as error:
            closed[descriptor] = error
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    return closed


def _guarded(descriptor: int, stream: IO[str] | None, closed: dict[int, OSError]) -> io.TextIOWrapper:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    raw = GuardedFile(descriptor, closed.get(descriptor))
    # A terminal may know ASCII alone.
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors="replace", line_buffering=raw.isatty())
