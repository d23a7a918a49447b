"""The server's end of the socket to its parent: lines out, lines in, and one error if the parent has gone."""

from __future__ import annotations

import os
import socket
from types import TracebackType
from typing import Self

_CHUNK_BYTES = 1 << 16


class ParentGoneError(Exception):
    """The parent has closed its end of the socket, or has ended."""


class Connection:
    """Sends and receives whole lines. Only the server has it open, not the processes that it forks."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._socket.set_inheritable(False)  # a process that outlives the server must not keep the socket open
        os.register_at_fork(after_in_child=self.close)
        self._incoming = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """Return the file descriptor, for a selector."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close this end."""
        self._socket.close()

    def send(self, line: bytes) -> None:
        """Send one line.

        Raises:
            ParentGoneError: nobody will receive it.
        """
        try:
            self._socket.sendall(line)
        except (BrokenPipeError, ConnectionResetError):
            raise ParentGoneError from None

    def receive(self) -> list[bytes]:
        """Wait for data, and return the lines that it completes; there may be none.

        Raises:
            ParentGoneError: no more data will come.
        """
        try:
            data = self._socket.recv(_CHUNK_BYTES)
        except ConnectionResetError:  # the parent closed its end before it had read everything
            raise ParentGoneError from None
        if not data:
            raise ParentGoneError
        self._incoming += data
        *lines, rest = self._incoming.split(b"\n")
        self._incoming = bytearray(rest)
        return [bytes(line) for line in lines]
