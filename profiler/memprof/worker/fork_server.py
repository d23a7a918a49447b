"""A process that has imported torch and forks worker servers for the commands of one user: `memprof serve`.

A command connects to the socket, sends one line of JSON (`StartRequest`) with two file descriptors: the socket of
the new worker server and the command's stderr. The reply is one line with the process id; another line with the exit
status follows when the worker server has ended. CUDA is never used here, so each forked process finds it untouched.
"""

from __future__ import annotations

import argparse
import gc
import os
import selectors
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from memprof.worker.fork_client import STOP, JsonLines, StartRequest, fingerprint
from memprof.worker.serve import serve_connection

IDLE_SECONDS = 15 * 60
_REQUEST_SECONDS = 5.0
_LOOKING_SECONDS = 10.0  # between two looks at whether the socket is still there
_PEER = struct.Struct("3i")  # struct ucred of unix(7): process, user and group


@dataclass(frozen=True, kw_only=True)
class _Worker:
    pid: int
    ended: int  # a pidfd, readable once the process has ended
    connection: socket.socket  # readable once the command has ended
    command: JsonLines


class ForkServer:
    """Serves one user over the socket at `path` until nobody has asked for `idle_seconds`."""

    def __init__(self, path: Path, idle_seconds: float) -> None:
        self._path, self._idle_seconds = path, idle_seconds
        self._fingerprint = fingerprint(os.environ)
        self._listener = _listen(path)
        self._selector = selectors.DefaultSelector()
        self._workers: dict[int, _Worker] = {}
        self._last_use = time.monotonic()
        self._stopped = False

    def run(self) -> None:
        """Accept commands until the idle time is over or the installed versions have changed."""
        self._selector.register(self._listener, selectors.EVENT_READ)
        while self._is_needed():
            for key, _ in self._selector.select(min(self._idle_seconds, _LOOKING_SECONDS)):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.data.pid in self._workers:
                    self._finish(key.data, gone=key.fileobj is key.data.connection)
        self._path.unlink(missing_ok=True)
        for worker in list(self._workers.values()):
            self._finish(worker, gone=True)

    def _is_needed(self) -> bool:
        """Say whether a worker server runs or a command may still come: not if the socket was removed."""
        idle = time.monotonic() - self._last_use
        return not self._stopped and (bool(self._workers) or (idle < self._idle_seconds and self._path.exists()))

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        user = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))[1]
        request, descriptors = (None, []) if user != os.getuid() else _receive(connection)
        if isinstance(request, StartRequest) and fingerprint(os.environ) == self._fingerprint:
            self._start(connection, request, descriptors)
            self._last_use = time.monotonic()
        else:  # asked to stop, or what torch would be now is not what was imported
            self._stopped = request is not None
            JsonLines(connection).send(request if request == STOP else None)
            connection.close()
        for descriptor in descriptors:
            os.close(descriptor)

    def _start(self, connection: socket.socket, request: StartRequest, descriptors: list[int]) -> None:
        pid = os.fork()
        if pid == 0:
            self._listener.close()
            _become_worker(request, *descriptors)
        worker = _Worker(pid=pid, ended=os.pidfd_open(pid), connection=connection, command=JsonLines(connection))
        self._workers[pid] = worker
        self._selector.register(worker.ended, selectors.EVENT_READ, worker)
        self._selector.register(connection, selectors.EVENT_READ, worker)
        worker.command.send({"pid": pid})

    def _finish(self, worker: _Worker, *, gone: bool) -> None:
        if gone:  # the command has ended: nobody waits for this worker server any more
            with suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGKILL)
        _, status = os.waitpid(worker.pid, 0)
        worker.command.send({"exit": os.waitstatus_to_exitcode(status)})
        for source in (worker.ended, worker.connection):
            self._selector.unregister(source)
        os.close(worker.ended)
        worker.connection.close()
        del self._workers[worker.pid]
        self._last_use = time.monotonic()


def _listen(path: Path) -> socket.socket:
    """Return a listening socket at `path` that only this user can open; it replaces one that nobody listens on."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    own = path.with_suffix(f".{os.getpid()}")
    mask = os.umask(0o177)
    try:
        listener.bind(str(own))
    finally:
        os.umask(mask)
    listener.listen(64)
    own.replace(path)  # only now can a command find it
    return listener


def _receive(connection: socket.socket) -> tuple[StartRequest | str | None, list[int]]:
    """Return the request on `connection` and its two descriptors, `STOP`, or ``None`` if it is neither."""
    descriptors: list[int] = []
    connection.settimeout(_REQUEST_SECONDS)
    try:
        data, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 2)
        message = JsonLines(connection, data).receive(_REQUEST_SECONDS)
        request = STOP if message == STOP else StartRequest(**message)
    except (OSError, ValueError, TypeError):
        return None, descriptors
    connection.settimeout(None)
    return (None if request != STOP and len(descriptors) != 2 else request), descriptors


def _become_worker(request: StartRequest, connection: int, stderr: int) -> NoReturn:
    """Turn this forked process into the worker server of a command: its environment, folder and streams."""
    with suppress(BaseException):
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        os.environ.clear()
        os.environ.update(request.environment)
        os.umask(request.umask)
        with suppress(OSError):
            os.chdir(request.folder)
        for stream in (1, 2):  # what models print must not mix with the command's own output
            os.dup2(stderr, stream)
        own = os.dup(connection)
        os.closerange(3, own)
        serve_connection(own)
    os._exit(1)


def main(arguments: list[str]) -> None:
    """Import torch and serve in the background: this process returns as soon as commands find the socket."""
    parser = argparse.ArgumentParser(prog="memprof.worker.fork_server")
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--idle-seconds", type=float, default=IDLE_SECONDS)
    options = parser.parse_args(arguments)
    from memprof.worker.server import import_for_children

    import_for_children()
    gc.collect()
    gc.freeze()  # a collection in a child would write to, and so copy, every page with an object
    server = ForkServer(options.socket, options.idle_seconds)
    if os.fork() == 0:
        server.run()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
