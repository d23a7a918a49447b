"""A forked child: replies to one request, in a process in which CUDA is not initialized yet."""

from __future__ import annotations

import math
import os
import re
import signal
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import torch

from memprof.breakdown.analytic import break_down, summarize_modules
from memprof.config.schema import EvaluationConfig, SweepConfig
from memprof.errors import WorkloadError
from memprof.gpus.phantom.runtime import communicators, unknown_workspaces
from memprof.measure.estimate import estimate
from memprof.measure.explaining import measure_and_explain
from memprof.measure.failures import describe
from memprof.measure.request_log import RequestLog
from memprof.measure.run import OnStep, measure
from memprof.records import Breakdown, Outcome, Reading, Source, Status
from memprof.worker.death_signal import die_with
from memprof.worker.environment import ALLOCATOR_VARIABLES, describe_environment
from memprof.worker.model_cache import ModelSource
from memprof.worker.protocol import (
    BreakdownReply,
    BreakdownRequest,
    CudaInitialized,
    DescribeReply,
    DescribeRequest,
    ExplainReply,
    ExplainRequest,
    Job,
    MeasureReply,
    MeasureRequest,
    Reply,
    Request,
    RequestError,
    Setup,
    StepStarted,
    SummarizeReply,
    SummarizeRequest,
    encode,
)


def run_child(request: Request, setup: Setup, model: ModelSource, pipe: int, parent: int) -> NoReturn:
    """Write the reply to `request` into `pipe` and exit at once, without torch's slow tear-down."""
    status = 1
    with suppress(BaseException):
        die_with(parent)
        os.setpgid(0, 0)  # with all that the model starts, so that they can be ended together
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        reply = answer(request, setup, model, pipe)
        with os.fdopen(pipe, "wb") as stream:
            stream.write(encode(reply))
        status = 0
        sys.stdout.flush()
    os._exit(status)


def answer(request: Request, setup: Setup, model: ModelSource, pipe: int) -> Reply:
    """Return the reply to one request; a failure is a reply too. Messages before the reply go into `pipe`."""
    number = request.number
    if setup.source is not Source.ANALYTIC and torch.cuda._is_in_bad_fork():
        return CudaInitialized(number=number)
    try:
        match request:
            case DescribeRequest():
                return DescribeReply(number=number, environment=describe_environment(setup))
            case BreakdownRequest():
                return BreakdownReply(number=number, breakdowns=tuple(_estimate(request, setup, model)))
            case SummarizeRequest():
                return SummarizeReply(number=number, summary=summarize_modules(model(), setup.config, *request.point))
            case MeasureRequest():
                return MeasureReply(
                    number=number, outcome=_measure(request.job, setup, model, _step_reporter(request, setup, pipe))
                )
            case ExplainRequest():
                return _explain(request, setup, model, _step_reporter(request, setup, pipe))
    except BaseException as error:  # noqa: BLE001  SystemExit from the user's code too
        return _failed(request, setup, describe(error))


def _estimate(request: BreakdownRequest, setup: Setup, model: ModelSource) -> list[Breakdown]:
    how = estimate if request.with_peaks else break_down
    return how(model(), request.config or setup.config, request.points, request.traits or setup.traits)


def _step_reporter(request: MeasureRequest | ExplainRequest, setup: Setup, pipe: int) -> OnStep | None:
    """Return what tells the parent that a step begins; ``None`` if it does not want to know."""
    if not setup.report_steps:
        return None
    number, batch_size = request.number, request.job.batch_size

    def report(step: int, steps: int) -> None:
        os.write(pipe, encode(StepStarted(number=number, batch_size=batch_size, step=step, steps=steps)))

    return report


def _measure(job: Job, setup: Setup, model: ModelSource, on_step: OnStep | None) -> Outcome:
    config, device = _prepare(job, setup)
    point, folder = (model(), config, job.optimizer, job.batch_size, device), Path(setup.folder)
    if not job.record_requests:
        return _marked(measure(*point, folder=folder, on_step=on_step, most_steps=job.most_steps), config)
    log = RequestLog(device)
    outcome = _marked(measure(*point, log, folder, on_step, job.most_steps), config)
    recorded = log.read(out_of_memory=outcome.status is Status.OOM)
    if recorded is None or outcome.status not in (Status.OK, Status.OOM):
        return outcome
    requests, refused = recorded
    return replace(outcome, allocator_requests=requests, refused_requests=refused)


def _explain(request: ExplainRequest, setup: Setup, model: ModelSource, on_step: OnStep | None) -> ExplainReply:
    job = request.job
    config, device = _prepare(job, setup)
    file = Path(request.snapshot_file) if request.snapshot_file else None
    point = (model(), config, job.optimizer, job.batch_size, device)
    outcome, explanation = measure_and_explain(*point, file, Path(setup.folder), on_step)
    return ExplainReply(number=request.number, outcome=_marked(outcome, config), explanation=explanation)


def _prepare(job: Job, setup: Setup) -> tuple[SweepConfig, torch.device]:
    """Apply the job's environment and memory limit to this process; return its config and device."""
    _change_environment(job)  # PyTorch and the phantom read the variables when CUDA is first used
    device = torch.device("cuda", setup.index if job.index is None else job.index)
    config = job.config or setup.config
    if job.steps is not None:
        config = config.model_copy(update={"steps": job.steps})
    if job.evaluate and config.evaluation is None and config.can_evaluate:
        config = config.model_copy(update={"evaluation": EvaluationConfig()})
    if job.memory_limit_bytes is not None:
        _limit_memory(job.memory_limit_bytes, device)
    return config, device


def _marked(outcome: Outcome, config: SweepConfig) -> Outcome:
    """Return the outcome without the figures that a phantom cannot know, and with those that it counts."""
    unknown = unknown_workspaces()
    if outcome.reading is None or unknown is None:
        return outcome
    return _with_nccl(replace(outcome, reading=_emulated(outcome.reading, unknown)), config)


def _with_nccl(outcome: Outcome, config: SweepConfig) -> Outcome:
    """Return the outcome with what is known of NCCL's own memory, if the run was one rank of several."""
    made = communicators()
    if outcome.reading is None or config.parallel is None or made is None:
        return outcome
    made += config.parallel.mesh.pipeline > 1  # that of its group, which a phantom does not use
    each = config.parallel.nccl.bytes_per_communicator
    return replace(
        outcome, reading=replace(outcome.reading, communicators=made, nccl_bytes=None if each is None else each * made)
    )


def _change_environment(job: Job) -> None:
    for name, value in job.environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    if any(name in job.environment for name in ALLOCATOR_VARIABLES):
        _check_backend()


def _check_backend() -> None:
    settings = next((os.environ[name] for name in ALLOCATOR_VARIABLES if os.environ.get(name)), "")
    wanted = re.search(r"backend:\s*(\w+)", settings)
    loaded = torch.cuda.get_allocator_backend()
    if (wanted[1] if wanted else "native") != loaded:
        raise WorkloadError(
            f"allocator: PyTorch chose backend:{loaded} when it was imported; run this setting in a separate command"
        )


def _limit_memory(limit_bytes: int, device: torch.device) -> None:
    fraction = limit_bytes / torch.cuda.get_device_properties(device).total_memory
    # The next larger fraction, since PyTorch rounds the bytes down, and a limit may be a whole number of segments.
    torch.cuda.set_per_process_memory_fraction(min(1.0, math.nextafter(fraction, 1.0)), device)


def _emulated(reading: Reading, unknown: int) -> Reading:
    # A phantom's kernels do not run, so the time of a step there has no meaning.
    steps = tuple(replace(step, seconds=None) for step in reading.steps)
    return replace(reading, steps=steps, workspace_known=unknown == 0)


def _failed(request: Request, setup: Setup, text: str) -> Reply:
    match request:
        case DescribeRequest():
            if setup.config.allocator is not None and "alloc" in text.lower():
                return RequestError(number=request.number, kind="config", text=f"allocator: {text}")
            return RequestError(number=request.number, kind="device", text=f"the GPU cannot be used: {text}")
        case BreakdownRequest() | SummarizeRequest():
            return RequestError(number=request.number, kind="workload", text=text)
        case MeasureRequest():
            return MeasureReply(number=request.number, outcome=Outcome(status=Status.ERROR, error=text))
        case ExplainRequest():
            failed = Outcome(status=Status.ERROR, error=text)
            return ExplainReply(number=request.number, outcome=failed, explanation=None)
