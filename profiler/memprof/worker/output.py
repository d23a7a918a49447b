"""What a model prints: copied to this process's stderr up to a limit, so that it cannot flood a terminal."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress

from memprof.units import KIB, format_bytes

LIMIT_BYTES = 64 * KIB  # about 800 lines of 80 characters: enough for the warnings and messages of a sweep
_CHUNK_BYTES = 64 * KIB  # the capacity of a pipe, pipe(7)


class OutputRelay:
    """Copies what a server and its children print to stderr, up to a limit.

    The rest is read and dropped, so that a process that prints a lot never waits for the terminal.
    """

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._read_end, self.write_end = os.pipe()
        self._limit_bytes = limit_bytes
        self._thread = threading.Thread(target=self._relay, name="memprof-output", daemon=True)

    def start(self) -> None:
        """Start to copy, and close this process's `write_end`; the server must have its own by now."""
        os.close(self.write_end)
        self._thread.start()

    def wait(self, seconds: float) -> None:
        """Wait until all processes have closed the other end and everything is copied, at most for `seconds`."""
        self._thread.join(seconds)

    def _relay(self) -> None:
        read_bytes = 0
        while data := os.read(self._read_end, _CHUNK_BYTES):
            if read_bytes <= self._limit_bytes:
                self._show(data, self._limit_bytes - read_bytes)
            read_bytes += len(data)
        os.close(self._read_end)

    def _show(self, data: bytes, left_bytes: int) -> None:
        _print(data[:left_bytes])
        if len(data) > left_bytes:
            limit = format_bytes(self._limit_bytes)
            _print(f"\nmemprof: the model printed more than {limit}; the rest is not shown\n".encode())


def _print(data: bytes) -> None:
    stderr = sys.__stderr__
    with suppress(OSError, ValueError):  # a closed stderr, a full disk, a pipe that nobody reads
        while data and stderr is not None:
            data = data[os.write(stderr.fileno(), data) :]
