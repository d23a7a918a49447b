"""The parent's end of one worker server: the process, the socket to it and what it prints. No torch here."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping

from memprof.records import Outcome, Status
from memprof.worker.exit_status import explain_exit
from memprof.worker.fork_client import ForkedProcess, fork_server_socket, start_fork_server, start_forked
from memprof.worker.leftovers import end_leftovers, mark_of, new_mark
from memprof.worker.output import OutputRelay
from memprof.worker.protocol import Reply, Request, Setup, encode, reply_decoder

_CLOSING_SECONDS = 2.0
_CHUNK_BYTES = 1 << 20


class WorkerDiedError(Exception):
    """The server ended, or took too long, while a reply was expected."""

    def __init__(self, status: Status, text: str) -> None:
        super().__init__(text)
        self.outcome = Outcome(status=status, error=f"the worker server: {text}")


class WorkerProcess:
    """One worker server and the socket to it. Until it is ready, it ends with the thread that started it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        marked = {**environment, **new_mark()}
        self._output = OutputRelay()
        self._mark = mark_of(marked, self._output.write_end)
        self._socket, theirs = socket.socketpair()
        with theirs:
            ends = theirs.fileno(), self._output.write_end
            self._process = _start_warm(marked, *ends) or _start(marked, *ends)
        self._output.start()
        self._decode = reply_decoder()
        self._incoming = bytearray()

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    def is_running(self) -> bool:
        """Whether the server has not ended."""
        return self._process.poll() is None

    def send(self, message: Setup | Request) -> None:
        """Send one message. If the server has ended, the next `receive` raises the error."""
        try:
            self._socket.sendall(encode(message))
        except (BrokenPipeError, ConnectionResetError):
            return

    def receive(self, timeout_seconds: float | None = None) -> Reply:
        """Return the next reply.

        Raises:
            WorkerDiedError: the server has ended, or did not reply within `timeout_seconds`.
        """
        self._socket.settimeout(timeout_seconds)
        while b"\n" not in self._incoming:
            try:
                data = self._socket.recv(_CHUNK_BYTES)
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
        """End the server, its children and all processes that the model started."""
        self._socket.close()
        try:
            self._process.wait(_CLOSING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        end_leftovers(self._mark)  # the server does so too, unless it was killed or the model ended it
        self._output.wait(_CLOSING_SECONDS)


def _start(environment: Mapping[str, str], descriptor: int, output: int) -> subprocess.Popen[bytes]:
    """Start a worker server that imports torch itself."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "memprof.worker", "--fd", str(descriptor), str(os.getpid())],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=[descriptor],
        start_new_session=True,  # Ctrl-C is for the parent, which then closes the socket
    )


def _start_warm(environment: Mapping[str, str], descriptor: int, output: int) -> ForkedProcess | None:
    """Start a worker server from this user's fork server, if one runs with the same versions and environment.

    MEMPROF_FORK_SERVER=off leaves one that runs alone, and MEMPROF_FORK_SERVER=start starts a missing one.
    """
    choice = os.environ.get("MEMPROF_FORK_SERVER")
    path = None if choice == "off" else fork_server_socket(environment)
    if path is None:
        return None
    forked = start_forked(path, environment, descriptor, output) if path.exists() else None
    if forked is None and choice == "start":
        start_fork_server(path, environment)
        forked = start_forked(path, environment, descriptor, output)
    return forked
