"""The worker server: forks one child for each request, and forwards its reply or how it ended without one.

The server never initializes CUDA itself, so each child can use it.
"""

from __future__ import annotations

import gc
import os
import selectors
import signal
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
from memprof.worker.connection import Connection
from memprof.worker.death_signal import outlive_parent
from memprof.worker.exit_status import explain_exit
from memprof.worker.finetuning_imports import import_for_finetuning
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
    is_interim,
    prepare_messages,
    request_decoder,
)
from memprof.workload.datasets import open_dataset


@dataclass(frozen=True, kw_only=True)
class _Running:
    number: int
    pid: int
    ended: int  # a pidfd, readable once the child has ended
    pipe: int  # with its reply
    limit_seconds: float
    started: float = field(default_factory=time.monotonic)
    reply: bytearray = field(default_factory=bytearray)

    @property
    def deadline(self) -> float:
        return self.started + self.limit_seconds


class Server:
    """Serves one parent over one connection until the parent has gone."""

    def __init__(self, connection: Connection, setup: Setup) -> None:
        self._connection = connection
        self._setup = setup
        self._models = Models(setup.config, Path(setup.folder))
        self._decode = request_decoder()
        self._selector = selectors.DefaultSelector()
        self._running: dict[int, _Running] = {}

    def serve(self) -> None:
        """Build the model, report how that ended, and reply to requests.

        Raises:
            ParentGoneError: always in the end, unless the model cannot be built; no child is running then.
        """
        import_for_children()
        self._connection.send(encode(Loaded()))
        reply = self._prepare()
        self._connection.send(encode(reply))
        if not isinstance(reply, Ready):
            return
        outlive_parent()  # from here on the closed socket shows that the parent has gone
        self._selector.register(self._connection, selectors.EVENT_READ)
        try:
            while True:
                for key, _ in self._selector.select(self._wait_seconds()):
                    self._handle(key)
                self._end_late()
        finally:
            for child in list(self._running.values()):
                self._end(child)

    def _prepare(self) -> Reply:
        # Threads do not survive a fork, so none may be started here: no intra-op pool.
        torch.set_num_threads(1)
        import_for_finetuning(self._setup.config)
        import_for_parallel(self._setup.config)
        try:
            open_dataset(self._setup.config, Path(self._setup.folder))  # once, for all children
            if self._setup.build_in_server:
                self._models.build()
        except BaseException as error:  # noqa: BLE001  the user's code may raise anything
            return RequestError(number=SETUP, kind="workload", text=describe(error))
        initialized: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        if initialized and self._setup.source is not Source.ANALYTIC:
            return CudaInitialized(number=SETUP)
        gc.collect()
        gc.freeze()  # a collection in a child would write to, and so copy, every page with an object
        return Ready()

    def _handle(self, key: selectors.SelectorKey) -> None:
        if key.fileobj is self._connection:
            for line in self._connection.receive():
                self._start(self._decode(line))
            return
        child: _Running = key.data
        if child.pid not in self._running:  # ended by an event before this one
            return
        if key.fileobj == child.pipe:
            self._read(child)
        else:
            self._finish(child)

    def _start(self, request: Request) -> None:
        config = _config_of(request)
        import_for_finetuning(config or self._setup.config)
        import_for_parallel(config or self._setup.config)
        with suppress(Exception):  # the child fails in the same way, and reports it
            self._models.prepare(config)
        sys.stdout.flush()  # otherwise each child would print again what the model's factory printed
        try:
            pid, ended, pipe = self._fork(request, config)
        except OSError as error:
            text = f"no process could be started: {error.strerror}"
            self._connection.send(encode(ChildExited(number=request.number, status=Status.ERROR, text=text)))
            return
        limit = (config or self._setup.config).timeout_seconds
        child = _Running(number=request.number, pid=pid, ended=ended, pipe=pipe, limit_seconds=limit)
        self._running[pid] = child
        self._selector.register(child.pipe, selectors.EVENT_READ, child)
        self._selector.register(child.ended, selectors.EVENT_READ, child)

    def _fork(self, request: Request, config: SweepConfig | None) -> tuple[int, int, int]:
        """Start a child for `request`; return its process id, its pidfd and the pipe with its reply.

        Raises:
            OSError: there are too many processes or open files; no child is left then.
        """
        parent, (pipe, childs_pipe) = os.getpid(), os.pipe()
        try:
            pid = os.fork()
            if pid == 0:
                run_child(request, self._setup, self._models.source(config), childs_pipe, parent)
            try:
                ended = os.pidfd_open(pid)
            except OSError:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise
        except OSError:
            os.close(pipe)
            raise
        finally:
            os.close(childs_pipe)
        with suppress(OSError):  # the child does the same: whichever is first
            os.setpgid(pid, pid)
        os.set_blocking(pipe, False)
        return pid, ended, pipe

    def _read(self, child: _Running) -> None:
        with suppress(BlockingIOError):
            while data := os.read(child.pipe, 1 << 20):
                child.reply.extend(data)
                self._forward_interim(child.reply)
            if child.pipe in self._selector.get_map():
                self._selector.unregister(child.pipe)

    def _forward_interim(self, received: bytearray) -> None:
        """Send the messages before the reply, and remove them from `received`."""
        while is_interim(received) and (end := received.find(b"\n") + 1):
            self._connection.send(bytes(received[:end]))
            del received[:end]

    def _finish(self, child: _Running) -> None:
        # The child's end counts, not that of its pipe: processes that it started may have that open.
        self._read(child)
        status = self._end(child)
        if child.reply.endswith(b"\n"):
            self._connection.send(bytes(child.reply))
            return
        kind, text = explain_exit(os.waitstatus_to_exitcode(status))
        self._connection.send(encode(ChildExited(number=child.number, status=kind, text=text)))

    def _end_late(self) -> None:
        now = time.monotonic()
        for child in [child for child in self._running.values() if child.deadline <= now]:
            self._end(child)
            text = f"not done after {child.limit_seconds:g} s (timeout_seconds)"
            self._connection.send(encode(ChildExited(number=child.number, status=Status.TIMEOUT, text=text)))

    def _end(self, child: _Running) -> int:
        """End the child and the processes in its group, which it started; return its wait status."""
        for kill in (os.killpg, os.kill):  # the model may have moved the child to another group
            with suppress(ProcessLookupError, PermissionError):
                kill(child.pid, signal.SIGKILL)
        _, status = os.waitpid(child.pid, 0)
        del self._running[child.pid]
        forget_ledger(child.pid)
        for descriptor in (child.pipe, child.ended):
            if descriptor in self._selector.get_map():
                self._selector.unregister(descriptor)
            os.close(descriptor)
        return status

    def _wait_seconds(self) -> float | None:
        deadlines = [child.deadline for child in self._running.values()]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None


def _config_of(request: Request) -> SweepConfig | None:
    """The config of a request; ``None`` if it is for the server's own."""
    match request:
        case MeasureRequest() | ExplainRequest():
            return request.job.config
        case BreakdownRequest():
            return request.config
    return None


def import_for_parallel(config: SweepConfig) -> None:
    """Import what one rank of many needs of PyTorch, once for all children."""
    if config.parallel is not None:
        import memprof.workload.parallel.model  # noqa: F401


def import_for_children() -> None:
    """Import once what PyTorch and the models would otherwise import late, in each child again."""
    with suppress(ImportError, OSError, RuntimeError):  # a model that needs it fails and says so
        import torchvision  # noqa: F401
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])  # the first optimizer imports torch's compiler
    prepare_messages()
