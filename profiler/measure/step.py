"""A training or inference step, cut into the phases that are read apart.

The loop is the one of PyTorch's tutorials: `output` and `loss` are names that live on until the next step's
values replace them, so the previous output is still there while the next forward pass runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from profiler.config import Mode, OptimizerConfig, Precision, SweepConfig
from profiler.measure.counters import Recorder
from profiler.records import Phase
from profiler.workload import Batch, autocast, build_loss, build_optimizer, make_batch

Step = Callable[[Recorder], None]


class TrainingStep:
    """zero_grad, forward, loss, backward and optimizer, with a GradScaler for AMP in fp16."""

    def __init__(
        self, model: torch.nn.Module, config: SweepConfig, optimizer: torch.optim.Optimizer, batch: Batch
    ) -> None:
        self._model, self._config, self._optimizer, self._batch = model, config, optimizer, batch
        self._loss_function = build_loss(config)
        self._device_type = batch.inputs[0].device.type
        self._scaler = torch.amp.GradScaler(self._device_type, enabled=config.precision is Precision.AMP_FP16)
        self._output: Any = None
        self._loss: torch.Tensor | None = None

    def __call__(self, recorder: Recorder) -> None:
        """Run one step. Forward and loss share one autocast region, whose cast weights are cached."""
        with recorder.phase(Phase.ZERO_GRAD):
            self._optimizer.zero_grad(set_to_none=True)
        with autocast(self._config, self._device_type):
            with recorder.phase(Phase.FORWARD):
                self._output = self._model(*self._batch.inputs)
            with recorder.phase(Phase.LOSS):
                self._loss = self._loss_function(self._output, self._batch.target)
        with recorder.phase(Phase.BACKWARD):
            self._scaler.scale(self._loss).backward()  # type: ignore[no-untyped-call]
        with recorder.phase(Phase.OPTIMIZER):
            self._scaler.step(self._optimizer)
            self._scaler.update()


class InferenceStep:
    """The forward pass alone, without autograd."""

    def __init__(self, model: torch.nn.Module, config: SweepConfig, batch: Batch) -> None:
        self._model, self._config, self._batch = model, config, batch
        self._device_type = batch.inputs[0].device.type
        self._output: Any = None

    def __call__(self, recorder: Recorder) -> None:
        """Run one forward pass under `torch.no_grad()`."""
        with torch.no_grad(), autocast(self._config, self._device_type), recorder.phase(Phase.FORWARD):
            self._output = self._model(*self._batch.inputs)


def build_step(
    model: torch.nn.Module,
    config: SweepConfig,
    optimizer: OptimizerConfig | None,
    batch_size: int,
    device: torch.device,
) -> Step:
    """Move `model` to `device`, make the batch there, and then the optimizer: PyTorch asks for that order."""
    model.train(config.mode is Mode.TRAIN).to(device)
    batch = make_batch(config, batch_size, device)
    if config.mode is Mode.INFERENCE:
        return InferenceStep(model, config, batch)
    if optimizer is None:
        raise ValueError("a training step needs an optimizer")
    return TrainingStep(model, config, build_optimizer(optimizer, model.parameters()), batch)
