"""Measure one point of a sweep, from a model on the CPU to its outcome."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch

from memprof.config.schema import OptimizerConfig, SweepConfig
from memprof.gpus.nvml import open_nvml
from memprof.gpus.phantom.values import ExpertRouting
from memprof.measure.evaluation import STEPS_AFTER, EvaluationPass
from memprof.measure.failures import classify
from memprof.measure.recorder import Listener, Recorder
from memprof.measure.resume import checkpoint_for, load_checkpoint
from memprof.measure.step import build_step
from memprof.measure.values import computed_values, make_routing, routed
from memprof.records import Outcome, Status

OnStep = Callable[[int, int], None]  # the number of the step that begins, from 1 on, and of all steps


def measure(
    model: torch.nn.Module,
    config: SweepConfig,
    optimizer: OptimizerConfig | None,
    batch_size: int,
    device: torch.device,
    listener: Listener | None = None,
    folder: Path = Path(),
    on_step: OnStep | None = None,
    most_steps: int = 0,
) -> Outcome:
    """Run `config.steps` steps of `model` at `batch_size` on a CUDA `device` and read its counters.

    The model is moved to the device and changed. Running out of memory is the outcome ``oom``, any other
    exception of the workload is ``error``; both keep what was read until then. The process must be a new one,
    because the counters and NVML's figures are those of the whole process. `listener` receives the events of the run.
    Paths in the config are relative to `folder`. `on_step` is called before each step. With `most_steps`, up to that
    many run, until one is served without freeing the allocator's cache: later ones are like it.
    """

    def steps(recorder: Recorder) -> None:
        with ExitStack() as opened:
            checkpoint = None
            if config.resume is not None:
                checkpoint = opened.enter_context(checkpoint_for(model, config, optimizer, device, folder))
            opened.enter_context(routed(model, routing))
            _run_steps(recorder, model, config, (optimizer, batch_size), checkpoint, folder, on_step, most_steps)

    routing = make_routing(config)
    return _record(steps, config, device, listener, routing)


def _record(
    run: Callable[[Recorder], None],
    config: SweepConfig,
    device: torch.device,
    listener: Listener | None = None,
    routing: ExpertRouting | None = None,
) -> Outcome:
    torch.cuda.set_device(device)
    _apply_settings(config)
    recorder = Recorder(device, open_nvml(torch.cuda.get_device_properties(device)), listener)
    with computed_values(config.values, routing) as host_values:
        status, reason = _outcome(run, recorder)
        label = config.routing.label if config.routing is not None else None
        reading = replace(recorder.reading(), host_values=host_values(), routing=label)
    return Outcome(status=status, reading=reading, error=reason)


def _outcome(run: Callable[[Recorder], None], recorder: Recorder) -> tuple[Status, str | None]:
    try:
        run(recorder)
    except Exception as error:  # noqa: BLE001  the user's code may raise anything; the record has it
        # The traceback's frames keep the tensors of the failed step alive until this block ends.
        return classify(error, recorder.stage)
    return Status.OK, None


def _run_steps(
    recorder: Recorder,
    model: torch.nn.Module,
    config: SweepConfig,
    point: tuple[OptimizerConfig | None, int],
    checkpoint: Path | None,
    folder: Path,
    on_step: OnStep | None,
    most_steps: int,
) -> None:
    with recorder.setup():
        recorder.listener.setup_started()
        step = build_step(model, config, *point, recorder.device, folder)
    recorder.listener.setup_finished(step)
    recorder.host_bytes = step.optimizer.host_bytes if step.optimizer is not None else None
    if config.resume is not None and checkpoint is not None:
        with recorder.resume():
            optimizers = step.optimizer.parts if step.optimizer is not None else ()
            load_checkpoint(checkpoint, config.resume, model, optimizers, recorder.device)
            recorder.listener.checkpoint_loaded()
    evaluation = EvaluationPass(step.model, config, point[1], recorder.device, folder) if config.evaluation else None
    epoch = config.steps + step.loader.more_steps
    steps = epoch + (STEPS_AFTER if evaluation or config.data else 0)
    number = 0
    while number < steps or (number < most_steps and not recorder.has_settled):
        number += 1
        if on_step is not None:
            on_step(number, max(number, steps))
        with recorder.step():
            step(recorder)
            _settle(config)
            recorder.note_batch(step.loader.current.size, point[1], step.loader.drawn)
            if evaluation and number == epoch:
                evaluation(recorder, step.loader)


def _settle(config: SweepConfig) -> None:
    """Let one rank of many end its step as on a real GPU, with all collectives done."""
    if config.parallel is not None:
        from memprof.workload.parallel.world import finish_collectives  # torch.distributed takes a second to import

        finish_collectives()


def _apply_settings(config: SweepConfig) -> None:
    torch.manual_seed(config.seed)
    torch.backends.cudnn.benchmark = config.cudnn.benchmark
    torch.backends.cudnn.deterministic = config.cudnn.deterministic
    if config.tf32 is not None:
        torch.backends.cudnn.allow_tf32 = config.tf32
        torch.backends.cuda.matmul.allow_tf32 = config.tf32
