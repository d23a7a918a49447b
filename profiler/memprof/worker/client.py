"""The questions of a sweep to the worker server, which is started again where it dies."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from memprof.breakdown.explanation import Explanation
from memprof.breakdown.module_summary import ModuleSummary
from memprof.config.load import LoadedConfig
from memprof.config.schema import SweepConfig
from memprof.errors import ConfigError, DeviceError, WorkloadError
from memprof.gpus.python_path import child_python_path
from memprof.gpus.select import Device
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
    SummarizeReply,
    SummarizeRequest,
)

_FAULTS = {"config": ConfigError, "workload": WorkloadError, "device": DeviceError}


class WorkerClient:
    """Answers about the points of one sweep on one device, from a worker server that may be replaced."""

    def __init__(self, loaded: LoadedConfig, device: Device) -> None:
        self._loaded = loaded
        self._device = device
        self._build_in_server = True
        self._number = 0
        self._process: WorkerProcess | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    @property
    def server_pid(self) -> int | None:
        """The process id of the server that is there now."""
        return self._process.pid if self._process else None

    def close(self) -> None:
        """End the server, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            process.close()

    def environment(self) -> Environment:
        """Return the circumstances of the sweep, as the worker sees them.

        Raises:
            ConfigError: PyTorch does not take the allocator settings.
            DeviceError: PyTorch cannot be imported, or the device cannot be used.
            WorkloadError: the model cannot be built.
        """
        reply = self._answer(DescribeRequest())
        if isinstance(reply, DescribeReply):
            return reply.environment
        raise TypeError(f"no answer to a question for the environment: {reply}")

    def breakdowns(self, points: Sequence[Point], config: SweepConfig | None = None) -> tuple[Breakdown, ...]:
        """Return the analytic breakdown of each of `points`, in their order; `config` is by default the sweep's.

        Raises:
            WorkloadError: a step of the model cannot be run on shapes alone.
        """
        reply = self._answer(BreakdownRequest(points=tuple(points), config=config))
        if isinstance(reply, BreakdownReply):
            return reply.breakdowns
        raise TypeError(f"no answer to a question for breakdowns: {reply}")

    def module_summary(self, point: Point) -> ModuleSummary:
        """Return what each module of the sweep's model takes at `point`, from shapes alone.

        Raises:
            WorkloadError: a step of the model cannot be run on shapes alone.
        """
        reply = self._answer(SummarizeRequest(point=point))
        if isinstance(reply, SummarizeReply):
            return reply.summary
        raise TypeError(f"no answer to a question for the modules: {reply}")

    def outcomes(self, points: Iterable[Point | Job], jobs: int) -> Iterator[Outcome]:
        """Yield the outcome of each of `points`, in their order; up to `jobs` run at the same time.

        A `Job` may be of another config, GPU or allocator setting than the sweep's: they all share one server.
        Where the server itself dies, the points under way get the reason as their outcome, and the others go
        on in a new server.

        Raises:
            WorkloadError, DeviceError: a new server could not be started.
        """
        return (outcome for outcome, _ in self.timed_outcomes(points, jobs))

    def timed_outcomes(self, points: Iterable[Point | Job], jobs: int) -> Generator[tuple[Outcome, float], None, None]:
        """Yield each outcome as `outcomes` does, with the seconds from the question to the answer."""
        waiting, asked = deque(points), dict[int, float]()
        answers = dict[int, tuple[Outcome, float]]()
        while waiting or asked:
            under_way = [number for number in asked if number not in answers]
            while waiting and len(under_way) < jobs:
                if not under_way:
                    self._replace_dead()
                under_way.append(self._ask(MeasureRequest(job=self._job(waiting.popleft()))))
                asked[under_way[-1]] = time.monotonic()
            for number, outcome in self._results(under_way).items():
                if number in asked:  # else of questions that were given up
                    answers[number] = outcome, time.monotonic() - asked[number]
            while asked and (first := next(iter(asked))) in answers:
                del asked[first]
                yield answers.pop(first)

    def explain(self, job: Job, snapshot_file: Path | None = None) -> tuple[Outcome, Explanation | None]:
        """Return the outcome of `job` and its peak taken apart; ``None`` where nothing was read.

        With `snapshot_file` the allocator's snapshot is written there.

        Raises:
            WorkloadError, DeviceError: the server could not be started.
        """
        path = None if snapshot_file is None else str(snapshot_file)
        request = ExplainRequest(job=self._job(job), snapshot_file=path)
        try:
            reply = self._exchange(request)
            if isinstance(reply, CudaInitialized):
                self._build_in_children()
                reply = self._exchange(request)
        except WorkerDiedError as death:
            self.close()
            return Outcome(status=death.status, error=f"the worker server: {death}"), None
        match reply:
            case ExplainReply():
                return reply.outcome, reply.explanation
            case ChildExited():
                return Outcome(status=reply.status, error=reply.text), None
        raise TypeError(f"no answer to a question for an explanation: {reply}")

    def _job(self, wanted: Point | Job) -> Job:
        job = wanted if isinstance(wanted, Job) else Job(optimizer=wanted[0], batch_size=wanted[1])
        if job.config is None or job.config.allocator == self._loaded.config.allocator:
            return job
        return replace(job, environment={**_allocator_variables(job.config), **job.environment})

    def _answer(self, request: Request) -> Reply:
        try:
            reply = self._exchange(request)
            if isinstance(reply, CudaInitialized):
                self._build_in_children()
                reply = self._exchange(request)
        except WorkerDiedError as death:
            self.close()
            raise WorkloadError(f"the worker server: {death}") from None
        if isinstance(reply, RequestError):
            raise _FAULTS[reply.kind](reply.text)
        if isinstance(reply, ChildExited):
            raise WorkloadError(f"model {self._loaded.config.model.name}, before its first point: {reply.text}")
        return reply

    def _exchange(self, request: Request) -> Reply:
        self._ask(request)
        return self._running().receive()

    def _results(self, under_way: Collection[int]) -> dict[int, Outcome]:
        try:
            reply = self._running().receive()
        except WorkerDiedError as death:
            self.close()
            lost = Outcome(status=death.status, error=f"the worker server: {death}")
            return dict.fromkeys(under_way, lost)
        match reply:
            case MeasureReply():
                return {reply.number: reply.outcome}
            case ChildExited():
                return {reply.number: Outcome(status=reply.status, error=reply.text)}
            case CudaInitialized():
                text = "CUDA was initialised before the fork, so it cannot be used after it"
                return {reply.number: Outcome(status=Status.ERROR, error=text)}
        raise TypeError(f"no answer to a measurement: {reply}")

    def _ask(self, request: Request) -> int:
        self._number += 1
        self._running().send(replace(request, number=self._number))
        return self._number

    def _replace_dead(self) -> None:
        if self._process is not None and not self._process.is_running():
            self.close()

    def _running(self) -> WorkerProcess:
        if self._process is None:
            try:
                self._process = self._start()
            except WorkerDiedError as death:
                raise WorkloadError(f"model {self._loaded.config.model.name}, while it was built: {death}") from None
        return self._process

    def _start(self) -> WorkerProcess:
        process = WorkerProcess(self._environment())
        try:
            process.send(self._setup())
            reply = process.receive()
            if isinstance(reply, Loaded):
                reply = process.receive(self._loaded.config.timeout_seconds)
            if isinstance(reply, RequestError):
                raise _FAULTS[reply.kind](reply.text)
        except BaseException:
            process.close()
            raise
        if isinstance(reply, Ready):
            return process
        process.close()
        self._build_in_children()
        return self._start()

    def _build_in_children(self) -> None:
        # The model's factory uses CUDA, and no child can after its parent did.
        if not self._build_in_server:
            raise DeviceError("CUDA is initialised as soon as PyTorch is imported, so no worker can be forked")
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
            build_in_server=self._build_in_server,
        )

    def _environment(self) -> dict[str, str]:
        environment = {
            **os.environ,
            "PYTHONPATH": child_python_path(),
            # PyTorch 2.14 warns of each allocation that fails, also of those that it then does without.
            "TORCH_CPP_LOG_LEVEL": os.environ.get("TORCH_CPP_LOG_LEVEL", "ERROR"),
            "OMP_NUM_THREADS": "1",  # threads of OpenMP would not survive the fork
            "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # is_available() without initialising CUDA's driver
            **self._device.environment,
        }
        changes = _allocator_variables(self._loaded.config)
        return {**environment, **{name: value for name, value in changes.items() if value is not None}}


def _allocator_variables(config: SweepConfig) -> dict[str, str | None]:
    """The allocator's settings as variables: the config's, else those of this process, else none."""
    # PyTorch renamed the variable (2.9 reads the old name alone); both are set so that neither of the user's own wins.
    names = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
    return {name: os.environ.get(name) if config.allocator is None else config.allocator for name in names}
