"""Requests about the points of one config on one device, to a worker server that is replaced if it ends."""

from __future__ import annotations

import errno
import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from memprof.breakdown.explanation import Explanation
from memprof.breakdown.module_summary import ModuleSummary
from memprof.config.load import LoadedConfig
from memprof.config.schema import SweepConfig
from memprof.errors import ConfigError, DeviceError, MemprofError, WorkloadError
from memprof.gpus.select import Device, choose_device
from memprof.records import Breakdown, Environment, Outcome, Status
from memprof.worker.process import WorkerDiedError, WorkerProcess
from memprof.worker.protocol import (
    BreakdownReply,
    BreakdownRequest,
    ChildExited,
    CudaInitialized,
    DescribeReply,
    DescribeRequest,
    ExplainReply,
    ExplainRequest,
    Job,
    Loaded,
    MeasureReply,
    MeasureRequest,
    Point,
    Ready,
    Reply,
    Request,
    RequestError,
    Setup,
    StepStarted,
    SummarizeReply,
    SummarizeRequest,
)
from memprof.worker.variables import allocator_variables, server_variables

ReplyT = TypeVar("ReplyT", bound=Reply)
OnStep = Callable[[int, int, int], None]  # the batch size, the step that begins, and the number of steps


class NoReplyError(WorkloadError):
    """The process that had a request ended without a reply. `outcome` is that of a point whose process ends so."""

    def __init__(self, text: str, outcome: Outcome) -> None:
        super().__init__(text)
        self.outcome = outcome


class WorkerClient:
    """Sends requests to a worker server; starts the server when it is needed, also after one that ended."""

    def __init__(self, loaded: LoadedConfig, device: Device, on_step: OnStep | None = None) -> None:
        """Prepare to serve `loaded` on `device`. `on_step` is called as each step of a request begins."""
        self._loaded = loaded
        self._on_step = on_step
        self._device = device
        self._devices: dict[str, Device] = {}
        self._build_in_server = True
        self._number = 0
        self._process: WorkerProcess | None = None
        self._environment: Environment | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    @property
    def server_pid(self) -> int | None:
        """The process id of the current server."""
        return self._process.pid if self._process else None

    def device_of(self, gpu: str | None) -> Device:
        """Return the device that `choose_device` names `gpu`; ``None`` is the client's own.

        Raises:
            DeviceError: it is unavailable.
        """
        if gpu is None or gpu == self._device.choice:
            return self._device
        if gpu not in self._devices:
            self._devices[gpu] = choose_device(gpu)
        return self._devices[gpu]

    def close(self) -> None:
        """End the server, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            process.close()

    def environment(self) -> Environment:
        """Return the environment of the measurements, as the worker sees it; the worker is asked once.

        Raises:
            ConfigError: PyTorch does not accept the allocator settings.
            DeviceError: PyTorch cannot be imported, or the device cannot be used.
            WorkloadError: the model cannot be built.
        """
        if self._environment is None:
            self._environment = self.request(DescribeRequest(), DescribeReply).environment
        return self._environment

    def breakdowns(
        self,
        points: Sequence[Point],
        config: SweepConfig | None = None,
        device: Device | None = None,
        *,
        with_peaks: bool = True,
    ) -> tuple[Breakdown, ...]:
        """Return the analytic breakdown of each of `points`, in their order.

        `config` and `device` are by default the client's. Without peaks it takes a third of the time.

        Raises:
            WorkloadError: a step of the model cannot be run on shapes alone.
        """
        traits = None if device is None else device.traits
        request = BreakdownRequest(points=tuple(points), config=config, traits=traits, with_peaks=with_peaks)
        return self.request(request, BreakdownReply).breakdowns

    def module_summary(self, point: Point) -> ModuleSummary:
        """Return the memory of each module of the config's model at `point`, from shapes alone.

        Raises:
            WorkloadError: a step of the model cannot be run on shapes alone.
        """
        return self.request(SummarizeRequest(point=point), SummarizeReply).summary

    def explain(self, job: Job, snapshot_file: Path | None = None) -> tuple[Outcome, Explanation | None]:
        """Return the outcome of `job` and what its peak consists of; ``None`` if nothing was read.

        With `snapshot_file` the allocator's snapshot is written there.

        Raises:
            WorkloadError, DeviceError: the server could not be started.
        """
        path = None if snapshot_file is None else str(snapshot_file)
        try:
            reply = self.request(ExplainRequest(job=self._job(job), snapshot_file=path), ExplainReply)
        except NoReplyError as error:
            return error.outcome, None
        return reply.outcome, reply.explanation

    def outcomes(self, points: Iterable[Point | Job], jobs: int) -> Iterator[Outcome]:
        """Yield the outcome of each of `points`, in their order; up to `jobs` run at the same time.

        A `Job` may have another config, GPU or allocator setting than the client; all share one server. If the server
        itself ends, the points that were running get the reason as their outcome, and the others run in a new server.

        Raises:
            WorkloadError, DeviceError: a new server could not be started.
        """
        return (outcome for outcome, _ in self.timed_outcomes(points, jobs))

    def timed_outcomes(self, points: Iterable[Point | Job], jobs: int) -> Generator[tuple[Outcome, float], None, None]:
        """Yield each outcome as `outcomes` does, with the seconds from its request to its reply."""
        waiting = deque(points)
        started = dict[int, float]()  # by request number, in the order of the points
        done = dict[int, tuple[Outcome, float]]()
        while waiting or started:
            running = [number for number in started if number not in done]
            while waiting and len(running) < jobs:
                if not running:
                    self._close_dead()
                running.append(self._send(MeasureRequest(job=self._job(waiting.popleft()))))
                started[running[-1]] = time.monotonic()
            for number, outcome in self._receive_outcomes(running).items():
                if number in started:  # otherwise the request was abandoned
                    done[number] = outcome, time.monotonic() - started[number]
            while started and (first := next(iter(started))) in done:
                del started[first]
                yield done.pop(first)

    def request(self, request: Request, reply_type: type[ReplyT]) -> ReplyT:
        """Send `request`, and return its reply, which is of `reply_type`.

        Raises:
            NoReplyError: the server, or the child that had the request, ended without a reply.
            ConfigError, WorkloadError, DeviceError: the reply is a `RequestError` of that kind.
        """
        try:
            reply = self._exchange(request)
            if isinstance(reply, CudaInitialized):
                self._build_in_children()
                reply = self._exchange(request)
        except WorkerDiedError as death:
            self.close()
            raise NoReplyError(str(death.outcome.error), death.outcome) from None
        return self._expect(reply, reply_type)

    def _exchange(self, request: Request) -> Reply:
        number = self._send(request)
        while (reply := self._receive()).number != number:
            pass  # the reply to a measurement that was abandoned
        return reply

    def _receive(self) -> Reply:
        """Return the next reply; tell about the steps that begin meanwhile."""
        while isinstance(reply := self._running().receive(), StepStarted):
            if self._on_step is not None:
                self._on_step(reply.batch_size, reply.step, reply.steps)
        return reply

    def _expect(self, reply: Reply, reply_type: type[ReplyT]) -> ReplyT:
        match reply:
            case RequestError():
                raise _error(reply)
            case ChildExited():
                text = f"model {self._loaded.config.model.name}, before its first point: {reply.text}"
                raise NoReplyError(text, Outcome(status=reply.status, error=reply.text))
            case CudaInitialized():
                text = "CUDA was initialized before the fork, so it cannot be used after it"
                raise NoReplyError(text, Outcome(status=Status.ERROR, error=text))
        if not isinstance(reply, reply_type):
            raise TypeError(f"expected a {reply_type.__name__}: {reply}")
        return reply

    def _receive_outcomes(self, running: Collection[int]) -> dict[int, Outcome]:
        """Wait for the next reply; return the outcome by request number, or that of all if the server ended."""
        try:
            reply = self._receive()
        except WorkerDiedError as death:
            self.close()
            return dict.fromkeys(running, death.outcome)
        try:
            return {reply.number: self._expect(reply, MeasureReply).outcome}
        except NoReplyError as error:
            return {reply.number: error.outcome}

    def _job(self, wanted: Point | Job) -> Job:
        job = wanted if isinstance(wanted, Job) else Job(optimizer=wanted[0], batch_size=wanted[1])
        device = self.device_of(job.gpu)
        if device != self._device:
            job = replace(job, index=device.index, environment={**device.environment, **job.environment})
        if job.config is None or job.config.allocator == self._loaded.config.allocator:
            return job
        return replace(job, environment={**allocator_variables(job.config.allocator), **job.environment})

    def _send(self, request: Request) -> int:
        """Send `request` under a new number, and return that."""
        self._number += 1
        self._running().send(replace(request, number=self._number))
        return self._number

    def _close_dead(self) -> None:
        if self._process is not None and not self._process.is_running():
            self.close()

    def _running(self) -> WorkerProcess:
        if self._process is None:
            try:
                self._process = self._start()
            except WorkerDiedError as death:
                text = f"model {self._loaded.config.model.name}, while it was built: {death}"
                raise WorkloadError(text) from None
        return self._process

    def _start(self) -> WorkerProcess:
        try:
            process = WorkerProcess(server_variables(self._device, self._loaded.config.allocator))
        except OSError as error:
            fix = "raise the limit of open files (ulimit -n)" if error.errno == errno.EMFILE else "end other processes"
            raise DeviceError(f"no worker process can be started: {error.strerror}; {fix}") from error
        try:
            reply = self._set_up(process)
        except BaseException:
            process.close()
            raise
        if isinstance(reply, Ready):
            return process
        process.close()
        if isinstance(reply, RequestError):
            raise _error(reply)
        self._build_in_children()
        return self._start()

    def _set_up(self, process: WorkerProcess) -> Reply:
        process.send(self._setup())
        reply = process.receive()
        # From here on the user's code runs, so the time limit starts.
        return process.receive(self._loaded.config.timeout_seconds) if isinstance(reply, Loaded) else reply

    def _build_in_children(self) -> None:
        # The model's factory uses CUDA, and no child can after its parent did.
        if not self._build_in_server:
            raise DeviceError("CUDA is initialized as soon as PyTorch is imported, so no worker can be forked")
        self._build_in_server = False
        self.close()

    def _setup(self) -> Setup:
        return Setup(
            config=self._loaded.config,
            folder=str(self._loaded.folder),
            source=self._device.source,
            gpu=self._device.name,
            index=self._device.index,
            gpu_total_bytes=self._device.total_bytes,
            traits=self._device.traits,
            build_in_server=self._build_in_server,
            report_steps=self._on_step is not None,
        )


def _error(reply: RequestError) -> MemprofError:
    kinds = {"config": ConfigError, "workload": WorkloadError, "device": DeviceError}
    return kinds[reply.kind](reply.text)
