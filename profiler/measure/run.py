"""One point of a sweep from a model on the CPU to its outcome."""

from __future__ import annotations

import torch

from profiler.config import OptimizerConfig, SweepConfig
from profiler.measure.counters import Recorder
from profiler.measure.failure import classify
from profiler.measure.nvml import open_nvml
from profiler.measure.outcome import Outcome
from profiler.measure.step import build_step
from profiler.records import Status


def measure(
    model: torch.nn.Module,
    config: SweepConfig,
    optimizer: OptimizerConfig | None,
    batch_size: int,
    device: torch.device,
) -> Outcome:
    """Run `config.steps` steps of `model` at `batch_size` on a CUDA `device` and read its counters.

    The model is moved to the device and changed. Running out of memory is the outcome ``oom``, any other
    exception of the workload ``error``; both keep what was read until then. The process must be a fresh one:
    the counters and NVML's figures are those of the whole process.
    """
    torch.cuda.set_device(device)
    _apply_switches(config)
    recorder = Recorder(device, open_nvml(device))
    status, reason = _run(recorder, model, config, (optimizer, batch_size), device)
    return Outcome(status=status, reading=recorder.reading(), error=reason)


def _run(
    recorder: Recorder,
    model: torch.nn.Module,
    config: SweepConfig,
    point: tuple[OptimizerConfig | None, int],
    device: torch.device,
) -> tuple[Status, str | None]:
    try:
        with recorder.setup():
            step = build_step(model, config, *point, device)
        for _ in range(config.steps):
            with recorder.step():
                step(recorder)
    except Exception as error:
        # The traceback's frames hold the tensors of the failed step; it goes when this block ends.
        return classify(error, recorder.moment)
    return Status.OK, None


def _apply_switches(config: SweepConfig) -> None:
    torch.manual_seed(config.seed)
    torch.backends.cudnn.benchmark = config.cudnn.benchmark
    torch.backends.cudnn.deterministic = config.cudnn.deterministic
    if config.tf32 is not None:
        torch.backends.cudnn.allow_tf32 = config.tf32
        torch.backends.cuda.matmul.allow_tf32 = config.tf32
