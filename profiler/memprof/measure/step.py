"""A training or inference step, divided into the phases that are measured separately.

The loop is that of PyTorch's tutorials: each pass loads its batch, and the variables of the batch, `output` and `loss`
live until the next pass replaces their values. So the previous output still exists while the next forward pass runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch

from memprof.config.schema import Mode, OptimizerConfig, Precision, SweepConfig
from memprof.errors import WorkloadError
from memprof.gpus.phantom.runtime import set_absent_peers, unknown_workspaces
from memprof.measure.compile import compile_model
from memprof.measure.optimizer_step import AfterStep, Optimizer, make_optimizer
from memprof.measure.recorder import Phases
from memprof.records import Phase
from memprof.workload import Batch, BatchLoader, autocast, build_loss, make_loader
from memprof.workload.meta import move_to_device

Around = Callable[[Batch], AbstractContextManager[Any]]


class TrainingStep:
    """load and zero_grad; forward, loss and backward for each accumulated pass; then the optimizer.

    A GradScaler scales the loss for AMP in fp16.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        config: SweepConfig,
        optimizer: Optimizer,
        loader: BatchLoader,
        after_step: AfterStep,
        around: Around = nullcontext,
    ) -> None:
        """Prepare the step; forward and backward of a batch run in the context that `around` returns for it."""
        self.model, self._config, self._around = model, config, around
        self.optimizer, self.loader, self.after_step = optimizer, loader, after_step
        self._loss_function = build_loss(config)
        self._device_type = loader.device.type
        self._scaler = torch.amp.GradScaler(self._device_type, enabled=config.precision is Precision.AMP_FP16)
        self._output: Any = None
        self._loss: torch.Tensor | None = None

    def __call__(self, recorder: Phases) -> None:
        """Run one step; with gradient accumulation, the phases of each pass follow one another."""
        load(self.loader, recorder)
        with recorder.phase(Phase.ZERO_GRAD):
            self.optimizer.zero_grad(set_to_none=self._config.set_to_none)
        for number in range(self._config.gradient_accumulation):
            if number:
                load(self.loader, recorder)
            self._accumulate(recorder, self.loader.current)
        with recorder.phase(Phase.OPTIMIZER):
            self.optimizer.step(self._scaler)
            self.after_step()

    def _accumulate(self, recorder: Phases, batch: Batch) -> None:
        with self._around(batch):
            self._forward(recorder, batch)
            self._backward(recorder)

    def _backward(self, recorder: Phases) -> None:
        with recorder.phase(Phase.BACKWARD):
            self._scaler.scale(self._loss).backward()  # type: ignore[no-untyped-call, arg-type]
            if self._scaler.is_enabled():
                recorder.listener.outputs_kept("scale of the loss", (self._scaler._scale, self._scaler._growth_tracker))

    def _forward(self, recorder: Phases, batch: Batch) -> None:
        # Forward and loss share one autocast context, which caches the cast weights.
        with autocast(self._config, self._device_type):
            with recorder.phase(Phase.FORWARD):
                self._output = batch.run(self.model)
                recorder.listener.outputs_kept("output of the model", self._output)
            with recorder.phase(Phase.LOSS):
                self._loss = self._loss_function(self._output, batch.target)
                if self._config.gradient_accumulation > 1:
                    self._loss = self._loss / self._config.gradient_accumulation
                recorder.listener.outputs_kept("loss", self._loss)


class InferenceStep:
    """Load the batch and run the forward pass, without autograd."""

    def __init__(self, model: torch.nn.Module, config: SweepConfig, loader: BatchLoader) -> None:
        self.model, self._config, self.loader, self.optimizer = model, config, loader, None
        self._device_type = loader.device.type
        self._output: Any = None

    def __call__(self, recorder: Phases) -> None:
        """Run one forward pass under `torch.no_grad()`."""
        load(self.loader, recorder)
        with torch.no_grad(), autocast(self._config, self._device_type), recorder.phase(Phase.FORWARD):
            self._output = self.loader.current.run(self.model)
            recorder.listener.outputs_kept("output of the model", self._output)


class PipelineStep:
    """load and zero_grad; then the schedule of the pipeline's stage, and the optimizer."""

    def __init__(
        self,
        model: torch.nn.Module,
        pipeline: Callable[[Batch], Sequence[torch.Tensor]],
        optimizer: Optimizer,
        loader: BatchLoader,
        after_step: AfterStep,
    ) -> None:
        self.model, self._pipeline = model, pipeline
        self.optimizer, self.loader, self.after_step = optimizer, loader, after_step
        self._scaler = torch.amp.GradScaler(loader.device.type, enabled=False)
        self._losses: Sequence[torch.Tensor] = ()

    def __call__(self, recorder: Phases) -> None:
        """Run one step; forward, loss and backward of the microbatches are one phase."""
        load(self.loader, recorder)
        with recorder.phase(Phase.ZERO_GRAD):
            self.optimizer.zero_grad(set_to_none=True)
        with recorder.phase(Phase.PIPELINE):
            self._losses = self._pipeline(self.loader.current)
            recorder.listener.outputs_kept("losses", self._losses)
        with recorder.phase(Phase.OPTIMIZER):
            self.optimizer.step(self._scaler)
            self.after_step()


Step = TrainingStep | InferenceStep | PipelineStep


def load(loader: BatchLoader, recorder: Phases) -> None:
    """Load the next batch as a phase of its own; a resident batch has no such phase."""
    if loader.is_resident:
        return
    with recorder.phase(Phase.LOAD):
        recorder.listener.batch_loaded(loader.load())


def build_step(
    model: torch.nn.Module,
    config: SweepConfig,
    optimizer: OptimizerConfig | None,
    batch_size: int,
    device: torch.device,
    folder: Path = Path(),
) -> Step:
    """Move `model` to `device`, then a batch that stays there, and then create the optimizer, as PyTorch requires."""
    model.train(config.mode is Mode.TRAIN)
    if config.parallel is not None:
        return _build_rank_step(model, config, optimizer, batch_size, device, folder)
    module = move_to_device(model, device)
    loader = make_loader(config, batch_size, device, folder, config.steps)
    module = compile_model(model, config, loader) if config.compile else module
    return make_step(model, module, config, optimizer, loader)


def _build_rank_step(
    model: torch.nn.Module,
    config: SweepConfig,
    optimizer: OptimizerConfig | None,
    batch_size: int,
    device: torch.device,
    folder: Path,
) -> Step:
    """Do the same for one rank of many: its part of the model, and the local batch."""
    from memprof.workload.parallel.model import distribute  # torch.distributed.fsdp takes a second to import
    from memprof.workload.parallel.pipeline import Pipeline, hidden_size

    if config.parallel is None or unknown_workspaces() is None:
        raise WorkloadError("parallel: one rank of many runs on a simulated GPU alone, for example --gpu h100-80gb")
    set_absent_peers(config.parallel.nccl.bytes_per_communicator)
    width = hidden_size(model) if config.parallel.mesh.pipeline > 1 else 0
    module, mesh = distribute(model, config, device, folder)
    loader = make_loader(config, batch_size, device, folder, config.steps)
    if config.parallel.mesh.context > 1:
        from memprof.workload.parallel.context import split_sequence

        around = partial(split_sequence, mesh=mesh["context"], restore=loader.is_resident)
        return make_step(model, module, config, optimizer, loader, around)
    if config.parallel.mesh.pipeline == 1 or optimizer is None:
        return make_step(model, module, config, optimizer, loader)
    pipeline = Pipeline(module, config, mesh["pipeline"], width, batch_size)
    updates = make_optimizer(module, config, optimizer)
    return PipelineStep(module, pipeline, updates, loader, AfterStep(module, config, updates))


def make_step(
    model: torch.nn.Module,
    module: torch.nn.Module,
    config: SweepConfig,
    optimizer: OptimizerConfig | None,
    loader: BatchLoader,
    around: Around = nullcontext,
) -> Step:
    """Return the step that runs `module`, which is `model` or its compiled form, on the batches of `loader`."""
    if config.mode is Mode.INFERENCE:
        return InferenceStep(module, config, loader)
    if optimizer is None:
        raise ValueError("a training step needs an optimizer")
    updates = make_optimizer(model, config, optimizer)
    return TrainingStep(module, config, updates, loader, AfterStep(model, config, updates), around)
