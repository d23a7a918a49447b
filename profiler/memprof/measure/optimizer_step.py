"""Step the optimizer, after backward with all gradients or within backward with each, and what follows a step."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn

from memprof.config.schema import OptimizerConfig, SweepConfig
from memprof.workload import build_optimizer
from memprof.workload.ema import build_ema
from memprof.workload.frozen import trained_parameters
from memprof.workload.schedulers import build_scheduler, step_scheduler


class Optimizer(Protocol):
    """The interface between a training step and its optimizer."""

    @property
    def parts(self) -> tuple[torch.optim.Optimizer, ...]:
        """PyTorch's own optimizers; there may be one per parameter."""

    @property
    def host_bytes(self) -> int | None:
        """What this rank offloads to host memory; ``None`` if it offloads nothing, or that is unknown."""

    def zero_grad(self, *, set_to_none: bool) -> None:
        """Free the gradients, or set them to zero."""

    def step(self, scaler: torch.amp.GradScaler) -> None:
        """Update the parameters from their gradients."""


def make_optimizer(model: nn.Module, config: SweepConfig, spec: OptimizerConfig) -> Optimizer:
    """Return the optimizer of `spec` for the parameters of `model`; the config says when it steps.

    Raises:
        WorkloadError: the optimizer cannot be built.
    """
    return _kind(config)(model, config, spec)


def _kind(config: SweepConfig) -> type[AfterBackward | InBackward]:
    if config.optimizer_in_backward:
        return InBackward
    if config.parallel is None:
        return AfterBackward
    return SharedState if config.parallel.ddp.zero else OnHost if config.parallel.offloads else AfterBackward


class AfterBackward:
    """The usual order: one optimizer, which steps once after backward."""

    host_bytes: int | None = None

    def __init__(self, model: nn.Module, config: SweepConfig, spec: OptimizerConfig) -> None:
        self._parameters, self._max_norm = trained_parameters(model), config.clip_grad_norm
        self._optimizer = build_optimizer(spec, self._parameters)
        self.parts: tuple[torch.optim.Optimizer, ...] = (self._optimizer,)

    def zero_grad(self, *, set_to_none: bool) -> None:
        """Free the gradients, or set them to zero."""
        self._optimizer.zero_grad(set_to_none=set_to_none)

    def step(self, scaler: torch.amp.GradScaler) -> None:
        """Clip the gradients if the config says so, and step through `scaler`, which may be disabled."""
        if self._max_norm is not None:
            scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(self._parameters, self._max_norm)
        scaler.step(self._optimizer)
        scaler.update()


class SharedState(AfterBackward):
    """The usual order with ZeroRedundancyOptimizer: this rank steps its part, and then sends it to the others."""

    def __init__(self, model: nn.Module, config: SweepConfig, spec: OptimizerConfig) -> None:
        from memprof.workload.parallel.zero import build_zero  # torch.distributed takes a second to import

        self._parameters, self._max_norm = trained_parameters(model), config.clip_grad_norm
        self._optimizer = build_zero(spec, self._parameters)
        self.parts = (self._optimizer.optim,)


class OnHost(AfterBackward):
    """No step: the state would be in host memory, and the CPU would compute for minutes. `host_bytes` has its size."""

    def __init__(self, model: nn.Module, config: SweepConfig, spec: OptimizerConfig) -> None:
        from memprof.workload.parallel.offload import offloaded_bytes  # torch.distributed takes a second to import

        super().__init__(model, config, spec)
        self.host_bytes = offloaded_bytes(model, spec)

    def step(self, scaler: torch.amp.GradScaler) -> None:
        """Do nothing."""


class InBackward:
    """One optimizer per parameter; a hook steps it once the gradient is computed, and frees the gradient.

    Source: the PyTorch tutorial "How to save memory by fusing the optimizer step into the backward pass".
    """

    host_bytes: int | None = None

    def __init__(self, model: nn.Module, config: SweepConfig, spec: OptimizerConfig) -> None:
        del config
        trained = trained_parameters(model)
        self._optimizers = {parameter: build_optimizer(spec, [parameter]) for parameter in trained}
        self.parts = tuple(self._optimizers.values())
        for parameter in trained:
            parameter.register_post_accumulate_grad_hook(self._update)  # type: ignore[no-untyped-call]

    def _update(self, parameter: torch.Tensor) -> None:
        optimizer = self._optimizers[parameter]  # type: ignore[index]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def zero_grad(self, *, set_to_none: bool) -> None:
        """Do nothing: each gradient is freed after its update."""

    def step(self, scaler: torch.amp.GradScaler) -> None:
        """Do nothing: backward has stepped already."""


class AfterStep:
    """What a loop does after each optimizer step: step the schedulers, and update the average of the weights."""

    def __init__(self, model: nn.Module, config: SweepConfig, optimizer: Optimizer) -> None:
        spec = config.scheduler
        self._model = model
        self._schedulers = [build_scheduler(spec, part) for part in optimizer.parts] if spec is not None else []
        self.ema = build_ema(model, config)

    def __call__(self) -> None:
        """Do it once."""
        for scheduler in self._schedulers:
            step_scheduler(scheduler)
        if self.ema is not None:
            self.ema.update_parameters(self._model)
