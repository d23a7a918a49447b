"""A process that has imported PyTorch and forks worker servers for the commands of one user: `memprof serve`.

A command connects to the socket and sends one line of JSON (`StartRequest`) with two file descriptors: the socket of
the new worker server, and the pipe to which it prints. The reply is one line with the process id; another line with the
exit status follows when the worker server has ended. CUDA is never used here, so each forked process can use it.
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
import traceback
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

import torch

from memprof.worker.fork_client import (
    IDLE_SECONDS,
    STATUS,
    STOP,
    ForkServerStatus,
    JsonLines,
    StartRequest,
    fingerprint,
)
from memprof.worker.leftovers import ServerMark, end_leftovers, mark_of
from memprof.worker.serve import serve_connection

_REQUEST_SECONDS = 5.0
_LOOKING_SECONDS = 10.0  # between two looks at whether the socket is still there
_ENDING_SECONDS = 2.0  # for a worker server whose command has ended, to end what it started; then it is killed
_PEER = struct.Struct("3i")  # struct ucred of unix(7): process, user and group


@dataclass(frozen=True, kw_only=True)
class _Worker:
    pid: int
    mark: ServerMark
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
        self._deadlines: dict[int, float] = {}  # by process id, of the workers whose command has ended
        self._last_use = time.monotonic()
        self._stopped = False
        self._served = 0

    def run(self) -> None:
        """Accept commands until the idle time is over or the installed versions have changed."""
        self._selector.register(self._listener, selectors.EVENT_READ)
        while self._is_needed():
            for key, _ in self._selector.select(self._wait_seconds()):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.data.pid in self._workers:
                    self._handle(key.data, command_ended=key.fileobj is key.data.connection)
            now = time.monotonic()
            for pid in [pid for pid, deadline in self._deadlines.items() if deadline <= now]:
                self._kill(self._workers[pid])
        self._path.unlink(missing_ok=True)
        for worker in list(self._workers.values()):
            self._kill(worker)

    def _wait_seconds(self) -> float:
        deadlines = [deadline - time.monotonic() for deadline in self._deadlines.values()]
        return max(0.0, min(self._idle_seconds, _LOOKING_SECONDS, *deadlines))

    def _is_needed(self) -> bool:
        """Whether a worker server runs or a command may still come: not if the socket was removed."""
        idle = time.monotonic() - self._last_use
        return not self._stopped and (bool(self._workers) or (idle < self._idle_seconds and self._path.exists()))

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        user = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))[1]
        request, descriptors = (None, []) if user != os.getuid() else _receive(connection)
        if isinstance(request, StartRequest) and fingerprint(os.environ) == self._fingerprint:
            self._start(connection, request, descriptors)
            self._last_use = time.monotonic()
        else:
            self._answer(connection, request)
        for descriptor in descriptors:
            os.close(descriptor)

    def _answer(self, connection: socket.socket, request: StartRequest | str | None) -> None:
        """Answer what starts no worker server: a question, or a command while other versions are installed now."""
        if request != STATUS:
            self._stopped = request is not None
        answers = {STOP: STOP, STATUS: asdict(self._status())}
        JsonLines(connection).send(answers.get(request) if isinstance(request, str) else None)
        connection.close()

    def _status(self) -> ForkServerStatus:
        return ForkServerStatus(
            pid=os.getpid(),
            torch=torch.__version__,
            served=self._served,
            running=len(self._workers),
            idle_seconds=time.monotonic() - self._last_use,
            limit_seconds=self._idle_seconds,
        )

    def _start(self, connection: socket.socket, request: StartRequest, descriptors: list[int]) -> None:
        mark = mark_of(request.environment, output=descriptors[1])
        pid = os.fork()
        if pid == 0:
            self._listener.close()
            _become_worker(request, *descriptors)
        command = JsonLines(connection)
        worker = _Worker(pid=pid, mark=mark, ended=os.pidfd_open(pid), connection=connection, command=command)
        self._workers[pid] = worker
        self._served += 1
        self._selector.register(worker.ended, selectors.EVENT_READ, worker)
        self._selector.register(connection, selectors.EVENT_READ, worker)
        worker.command.send({"pid": pid})

    def _handle(self, worker: _Worker, *, command_ended: bool) -> None:
        if command_ended:  # the worker server's own socket shows the same, so it ends by itself, unless it hangs
            self._selector.unregister(worker.connection)
            self._deadlines[worker.pid] = time.monotonic() + _ENDING_SECONDS
        else:
            self._finish(worker)

    def _kill(self, worker: _Worker) -> None:
        with suppress(ProcessLookupError):
            os.kill(worker.pid, signal.SIGKILL)
        self._finish(worker)
        end_leftovers(worker.mark)

    def _finish(self, worker: _Worker) -> None:
        _, status = os.waitpid(worker.pid, 0)
        worker.command.send({"exit": os.waitstatus_to_exitcode(status)})
        for source in (worker.ended, worker.connection):
            if source in self._selector.get_map():
                self._selector.unregister(source)
        os.close(worker.ended)
        worker.connection.close()
        del self._workers[worker.pid]
        self._deadlines.pop(worker.pid, None)
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
    """Return what `connection` asks for, and the descriptors that came with it; ``None`` if it makes no sense."""
    descriptors: list[int] = []
    connection.settimeout(_REQUEST_SECONDS)
    try:
        data, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 2)
        message = JsonLines(connection, data).receive(_REQUEST_SECONDS)
        request = message if message in (STOP, STATUS) else StartRequest(**message)
    except (OSError, ValueError, TypeError):
        return None, descriptors
    connection.settimeout(None)
    if isinstance(request, StartRequest) and (len(descriptors) != 2 or not isinstance(request.environment, dict)):
        return None, descriptors
    return request, descriptors


def _become_worker(request: StartRequest, connection: int, output: int) -> NoReturn:
    """Turn this forked process into the worker server of a command, with its environment, folder and output."""
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        os.environ.clear()
        os.environ.update(request.environment)
        os.umask(request.umask)
        with suppress(OSError):
            os.chdir(request.folder)
        for stream in (1, 2):
            os.dup2(output, stream)
        os.dup2(connection, 3)
        for descriptor in map(int, os.listdir("/proc/self/fd")):
            if descriptor > 3:  # the sockets of other commands: each must see the end of its own worker server
                with suppress(OSError):
                    os.close(descriptor)
        serve_connection(3)
    except BaseException:  # noqa: BLE001  it must not continue as a second fork server
        traceback.print_exc()
    os._exit(1)


def main(arguments: list[str]) -> None:
    """Import PyTorch and serve in the background; this process exits as soon as commands find the socket."""
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
