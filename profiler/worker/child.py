"""A forked child: answers one request, in a process whose CUDA nobody has touched."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import torch

from profiler.analytic import break_down
from profiler.measure.failure import describe
from profiler.measure.outcome import Outcome
from profiler.measure.run import measure
from profiler.phantom.inside import unknown_workspaces
from profiler.records import Reading, Source, Status
from profiler.worker.ending import die_with
from profiler.worker.environment import describe_environment
from profiler.worker.protocol import (
    BreakDown,
    BrokenDown,
    CudaTouched,
    Describe,
    Described,
    Measure,
    Measured,
    Refused,
    Reply,
    Request,
    Setup,
    encode,
)
from profiler.workload import build_model

ModelSource = Callable[[], torch.nn.Module]


def run_child(request: Request, setup: Setup, model: torch.nn.Module | None, pipe: int, parent: int) -> NoReturn:
    """Answer `request` into `pipe` and end at once, without torch's slow tear-down.

    `model` is the server's, or ``None`` where each child builds its own.
    """
    status = 1
    with suppress(BaseException):
        die_with(parent)
        os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        reply = answer(request, setup, (lambda: model) if model else (lambda: build(setup)))
        with os.fdopen(pipe, "wb") as stream:
            stream.write(encode(reply))
        status = 0
        sys.stdout.flush()
    os._exit(status)


def build(setup: Setup) -> torch.nn.Module:
    """Build the sweep's model on the CPU.

    Raises:
        WorkloadError: the factory is missing, raises, or returns something that is no model.
    """
    return build_model(setup.config, Path(setup.folder))


def answer(request: Request, setup: Setup, model: ModelSource) -> Reply:
    """Return the reply to one request; every failure becomes one."""
    number = request.number
    if setup.source is not Source.ANALYTIC and torch.cuda._is_in_bad_fork():
        return CudaTouched(number=number)
    try:
        match request:
            case Describe():
                return Described(number=number, environment=describe_environment(setup))
            case BreakDown():
                found = break_down(model(), setup.config, request.points)
                return BrokenDown(number=number, breakdowns=tuple(found))
            case Measure():
                return Measured(number=number, outcome=_measure(request, setup, model()))
    except BaseException as error:  # SystemExit from the user's code too
        return _failed(request, setup, describe(error))


def _measure(request: Measure, setup: Setup, model: torch.nn.Module) -> Outcome:
    optimizer, batch_size = request.point
    outcome = measure(model, setup.config, optimizer, batch_size, torch.device("cuda", setup.index))
    unknown = unknown_workspaces()
    if outcome.reading is None or unknown is None:
        return outcome
    return replace(outcome, reading=_emulated(outcome.reading, unknown))


def _emulated(reading: Reading, unknown: int) -> Reading:
    # A phantom's kernels do not run, so the time that a step took there says nothing.
    steps = tuple(replace(step, seconds=None) for step in reading.steps)
    return replace(reading, steps=steps, workspace_known=unknown == 0)


def _failed(request: Request, setup: Setup, text: str) -> Reply:
    match request:
        case Describe():
            if setup.config.allocator is not None and "alloc" in text.lower():
                return Refused(number=request.number, fault="config", text=f"allocator: {text}")
            return Refused(number=request.number, fault="device", text=f"the GPU cannot be used: {text}")
        case BreakDown():
            return Refused(number=request.number, fault="workload", text=text)
        case Measure():
            return Measured(number=request.number, outcome=Outcome(status=Status.ERROR, error=text))
