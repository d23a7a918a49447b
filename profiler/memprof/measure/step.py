"""A training or inference step, divided into the phases that are measured separately.

The loop is that of PyTorch's tutorials: the variables `output` and `loss` live until the next step replaces their
values, so the previous output still exists while the next forward pass runs.
"""

from __future__ import annotations

from typing import Any

import torch

from memprof.config.schema import Mode, OptimizerConfig, Precision, SweepConfig
from memprof.measure.compile import compile_model
from memprof.measure.optimizer_step import Optimizer, make_optimizer
from memprof.measure.recorder import Recorder
from memprof.records import Phase
from memprof.workload import Batch, autocast, build_loss, make_batch
from memprof.workload.meta import move_to_device


class TrainingStep:
    """zero_grad; forward, loss and backward for each accumulated pass; then the optimizer.

    A GradScaler scales the loss for AMP in fp16.
    """

    def __init__(self, model: torch.nn.Module, config: SweepConfig, optimizer: Optimizer, batch: Batch) -> None:
        self._model, self._config = model, config
        self.optimizer, self.batch = optimizer, batch
        self._loss_function = build_loss(config)
        self._device_type = batch.device.type
        self._scaler = torch.amp.GradScaler(self._device_type, enabled=config.precision is Precision.AMP_FP16)
        self._output: Any = None
        self._loss: torch.Tensor | None = None

    def __call__(self, recorder: Recorder) -> None:
        """Run one step; with gradient accumulation, the phases of each pass follow one another."""
        with recorder.phase(Phase.ZERO_GRAD):
            self.optimizer.zero_grad(set_to_none=self._config.set_to_none)
        for _ in range(self._config.gradient_accumulation):
            self._accumulate(recorder)
        with recorder.phase(Phase.OPTIMIZER):
            self.optimizer.step(self._scaler)

    def _accumulate(self, recorder: Recorder) -> None:
        # Forward and loss share one autocast context, which caches the cast weights.
        with autocast(self._config, self._device_type):
            with recorder.phase(Phase.FORWARD):
                self._output = self.batch.run(self._model)
                recorder.listener.outputs_kept("output of the model", self._output)
            with recorder.phase(Phase.LOSS):
                self._loss = self._loss_function(self._output, self.batch.target)
                if self._config.gradient_accumulation > 1:
                    self._loss = self._loss / self._config.gradient_accumulation
                recorder.listener.outputs_kept("loss", self._loss)
        with recorder.phase(Phase.BACKWARD):
            self._scaler.scale(self._loss).backward()  # type: ignore[no-untyped-call]

    def evaluate(self) -> None:
        """Run one forward pass in eval mode without autograd, next to everything that training keeps; ends training."""
        self._model.eval()
        with torch.no_grad(), autocast(self._config, self._device_type):
            self.batch.run(self._model)


class InferenceStep:
    """Only the forward pass, without autograd."""

    def __init__(self, model: torch.nn.Module, config: SweepConfig, batch: Batch) -> None:
        self._model, self._config, self.batch, self.optimizer = model, config, batch, None
        self._device_type = batch.device.type
        self._output: Any = None

    def __call__(self, recorder: Recorder) -> None:
        """Run one forward pass under `torch.no_grad()`."""
        with torch.no_grad(), autocast(self._config, self._device_type), recorder.phase(Phase.FORWARD):
            self._output = self.batch.run(self._model)
            recorder.listener.outputs_kept("output of the model", self._output)

    def evaluate(self) -> None:
        """Run one more forward pass: inference is already an evaluation."""
        with torch.no_grad(), autocast(self._config, self._device_type):
            self.batch.run(self._model)


Step = TrainingStep | InferenceStep


def build_step(
    model: torch.nn.Module,
    config: SweepConfig,
    optimizer: OptimizerConfig | None,
    batch_size: int,
    device: torch.device,
) -> Step:
    """Move `model` to `device`, create the batch there, and then the optimizer, in the order that PyTorch requires."""
    move_to_device(model.train(config.mode is Mode.TRAIN), device)
    batch = make_batch(config, batch_size, device)
    module = compile_model(model, config, batch) if config.compile else model
    if config.mode is Mode.INFERENCE:
        return InferenceStep(module, config, batch)
    if optimizer is None:
        raise ValueError("a training step needs an optimizer")
    return TrainingStep(module, config, make_optimizer(model, config, optimizer), batch)
