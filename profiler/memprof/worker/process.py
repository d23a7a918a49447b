"""The parent's end of one worker server: the process and the socket to it. Free of torch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from memprof.records import Status
from memprof.worker.exit_status import explain_exit
from memprof.worker.fork_client import ForkedProcess, fork_server_socket, start_fork_server, start_forked
from memprof.worker.protocol import Reply, Request, Setup, encode, reply_decoder

_CLOSING_SECONDS = 2.0


class WorkerDiedError(Exception):
    """The server ended, or had to be ended, while an answer was expected."""

    def __init__(self, status: Status, text: str) -> None:
        super().__init__(text)
        self.status = status


class WorkerProcess:
    """One worker server and the socket to it. It dies when the thread that started it ends."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = _start_warm(environment, theirs.fileno()) or _start(environment, theirs.fileno())
        self._decode = reply_decoder()
        self._incoming = bytearray()

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    def is_running(self) -> bool:
        """Say whether the server is still there."""
        return self._process.poll() is None

    def send(self, message: Setup | Request) -> None:
        """Send one message; that a server has died is told by `receive`."""
        try:
            self._socket.sendall(encode(message))
        except (BrokenPipeError, ConnectionResetError):
            return

    def receive(self, timeout_seconds: float | None = None) -> Reply:
        """Return the next reply.

        Raises:
            WorkerDiedError: the server is gone, or said nothing for `timeout_seconds`.
        """
        self._socket.settimeout(timeout_seconds)
        while b"\n" not in self._incoming:
            try:
                data = self._socket.recv(1 << 20)
            except TimeoutError:
                text = f"not done after {timeout_seconds:g} s (timeout_seconds)"
                raise WorkerDiedError(Status.TIMEOUT, text) from None
            except ConnectionResetError:
                data = b""
            if not data:
                raise WorkerDiedError(*explain_exit(self._process.wait()))
            self._incoming += data
        line, _, rest = bytes(self._incoming).partition(b"\n")
        self._incoming = bytearray(rest)
        reply: Reply = self._decode(line)
        return reply

    def close(self) -> None:
        """End the server and its children."""
        self._socket.close()
        try:
            self._process.wait(_CLOSING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _start(environment: dict[str, str], descriptor: int) -> subprocess.Popen[bytes]:
    """Start a worker server that imports torch itself."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "memprof.worker", "--fd", str(descriptor), str(os.getpid())],
        env=environment,
        stdin=subprocess.DEVNULL,
        pass_fds=[descriptor],
        start_new_session=True,  # Ctrl-C is for the parent, which then closes the socket
    )


def _start_warm(environment: dict[str, str], descriptor: int) -> ForkedProcess | None:
    """Start a worker server from this user's fork server, if one runs with the same versions and environment."""
    path = fork_server_socket(environment)
    if path is None:
        return None
    forked = start_forked(path, environment, descriptor) if path.exists() else None
    if forked is None and os.environ.get("MEMPROF_FORK_SERVER") == "start":
        start_fork_server(path, environment)
        forked = start_forked(path, environment, descriptor)
    return forked
