"""The worker server: forks one child a request, forwards its answer, and says so where there is none.

It never touches CUDA itself, so each child finds it untouched.
"""

from __future__ import annotations

import gc
import os
import selectors
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch

from memprof.config.schema import SweepConfig
from memprof.gpus.phantom.ledger import forget_ledger
from memprof.measure.failures import describe
from memprof.records import Source, Status
from memprof.worker.child import run_child
from memprof.worker.exit_status import explain_exit
from memprof.worker.model_cache import Models
from memprof.worker.protocol import (
    SETUP,
    BreakdownRequest,
    ChildExited,
    CudaInitialized,
    ExplainRequest,
    Loaded,
    MeasureRequest,
    Ready,
    Reply,
    Request,
    RequestError,
    Setup,
    encode,
    request_decoder,
)


@dataclass(frozen=True, kw_only=True)
class _Running:
    number: int
    pid: int
    ended: int  # a pidfd, readable once the child is gone
    pipe: int
    limit_seconds: float
    started: float = field(default_factory=time.monotonic)
    answer: bytearray = field(default_factory=bytearray)

    @property
    def deadline(self) -> float:
        return self.started + self.limit_seconds


class Server:
    """Serves one parent over one socket until that closes."""

    def __init__(self, connection: socket.socket, setup: Setup) -> None:
        self._connection = connection
        self._setup = setup
        self._models = Models(setup.config, Path(setup.folder))
        self._decode = request_decoder()
        self._selector = selectors.DefaultSelector()
        self._running: dict[int, _Running] = {}
        self._incoming = bytearray()

    def serve(self) -> None:
        """Build the model, say how that went, and answer requests until the parent closes its end."""
        import_for_children()
        self._send(encode(Loaded()))
        reply = self._prepare()
        self._send(encode(reply))
        if not isinstance(reply, Ready):
            return
        self._selector.register(self._connection, selectors.EVENT_READ)
        open_ = True
        while open_:
            events = self._selector.select(self._wait_seconds())
            open_ = all([self._handle(key) for key, _ in events])  # noqa: C419 - every event is handled
            self._kill_late()
        for child in self._running.values():
            self._kill(child)

    def _prepare(self) -> Reply:
        # Threads do not survive a fork, so none may be started here: no intra-op pool.
        torch.set_num_threads(1)
        try:
            if self._setup.build_in_server:
                self._models.build()
        except BaseException as error:  # noqa: BLE001  the user's code may raise anything
            return RequestError(number=SETUP, kind="workload", text=describe(error))
        touched: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        if touched and self._setup.source is not Source.ANALYTIC:
            return CudaInitialized(number=SETUP)
        gc.collect()
        gc.freeze()  # a collection in a child would write to, and so copy, every page with an object
        return Ready()

    def _handle(self, key: selectors.SelectorKey) -> bool:
        if key.fileobj is self._connection:
            return self._receive()
        child: _Running = key.data
        if child.pid not in self._running:  # ended by an event before this one
            return True
        if key.fileobj == child.pipe:
            self._read(child)
        else:
            self._finish(child)
        return True

    def _receive(self) -> bool:
        data = self._connection.recv(65536)
        self._incoming += data
        *lines, rest = self._incoming.split(b"\n")
        self._incoming = bytearray(rest)
        for line in lines:
            self._start(self._decode(bytes(line)))
        return bool(data)

    def _start(self, request: Request) -> None:
        config = _config_of(request)
        with suppress(Exception):  # the child fails in the same way, and says so
            self._models.prepare(config)
        parent, (pipe, childs_pipe) = os.getpid(), os.pipe()
        sys.stdout.flush()  # else each child would print again what the model's factory printed
        try:
            pid = os.fork()
        except OSError as error:
            os.close(pipe)
            os.close(childs_pipe)
            text = f"no process could be started: {error.strerror}"
            self._send(encode(ChildExited(number=request.number, status=Status.ERROR, text=text)))
            return
        if pid == 0:
            os.close(pipe)
            self._connection.close()
            run_child(request, self._setup, self._models.source(config), childs_pipe, parent)
        os.close(childs_pipe)
        os.set_blocking(pipe, False)
        limit = (config or self._setup.config).timeout_seconds
        child = _Running(number=request.number, pid=pid, ended=os.pidfd_open(pid), pipe=pipe, limit_seconds=limit)
        self._running[pid] = child
        self._selector.register(child.pipe, selectors.EVENT_READ, child)
        self._selector.register(child.ended, selectors.EVENT_READ, child)

    def _read(self, child: _Running) -> None:
        with suppress(BlockingIOError):
            while data := os.read(child.pipe, 1 << 20):
                child.answer.extend(data)
            if child.pipe in self._selector.get_map():
                self._selector.unregister(child.pipe)

    def _finish(self, child: _Running) -> None:
        # Its end counts, not that of its pipe, which processes that it started may still hold.
        self._read(child)
        _, status = os.waitpid(child.pid, 0)
        self._forget(child)
        if child.answer.endswith(b"\n"):
            self._send(bytes(child.answer))
            return
        kind, text = explain_exit(os.waitstatus_to_exitcode(status))
        self._send(encode(ChildExited(number=child.number, status=kind, text=text)))

    def _kill_late(self) -> None:
        now = time.monotonic()
        for child in [child for child in self._running.values() if child.deadline <= now]:
            self._kill(child)
            os.waitpid(child.pid, 0)
            self._forget(child)
            text = f"not done after {child.limit_seconds:g} s (timeout_seconds)"
            self._send(encode(ChildExited(number=child.number, status=Status.TIMEOUT, text=text)))

    def _kill(self, child: _Running) -> None:
        for kill in (os.killpg, os.kill):  # its group is its own from its first moments on
            with suppress(ProcessLookupError):
                kill(child.pid, signal.SIGKILL)

    def _forget(self, child: _Running) -> None:
        del self._running[child.pid]
        forget_ledger(child.pid)
        for descriptor in (child.pipe, child.ended):
            if descriptor in self._selector.get_map():
                self._selector.unregister(descriptor)
            os.close(descriptor)

    def _wait_seconds(self) -> float | None:
        deadlines = [child.deadline for child in self._running.values()]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _send(self, line: bytes) -> None:
        self._connection.sendall(line)


def _config_of(request: Request) -> SweepConfig | None:
    """The config that a request brings along, ``None`` where it is the server's own."""
    match request:
        case MeasureRequest() | ExplainRequest():
            return request.job.config
        case BreakdownRequest():
            return request.config
    return None


def import_for_children() -> None:
    """Import here, once, what torch and the models would import late, in each child again."""
    with suppress(ImportError, OSError, RuntimeError):  # a model that needs it says so
        import torchvision  # noqa: F401
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])  # the first optimizer imports torch's compiler
