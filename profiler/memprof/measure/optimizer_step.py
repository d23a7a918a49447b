"""Step the optimizer: after backward with all gradients, or within backward with each gradient."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn

from memprof.config.schema import OptimizerConfig, SweepConfig
from memprof.workload import build_optimizer
from memprof.workload.frozen import trained_parameters


class Optimizer(Protocol):
    """The interface between a training step and its optimizer."""

    @property
    def parts(self) -> tuple[torch.optim.Optimizer, ...]:
        """PyTorch's own optimizers; there may be one per parameter."""

    def zero_grad(self, *, set_to_none: bool) -> None:
        """Free the gradients, or set them to zero."""

    def step(self, scaler: torch.amp.GradScaler) -> None:
        """Update the parameters from their gradients."""


def make_optimizer(model: nn.Module, config: SweepConfig, spec: OptimizerConfig) -> Optimizer:
    """Return the optimizer of `spec` for the parameters of `model`; the config says when it steps.

    Raises:
        WorkloadError: the optimizer cannot be built.
    """
    return InBackward(model, spec) if config.optimizer_in_backward else AfterBackward(model, spec)


class AfterBackward:
    """The usual order: one optimizer, which steps once after backward."""

    def __init__(self, model: nn.Module, spec: OptimizerConfig) -> None:
        self._optimizer = build_optimizer(spec, trained_parameters(model))
        self.parts = (self._optimizer,)

    def zero_grad(self, *, set_to_none: bool) -> None:
        """Free the gradients, or set them to zero."""
        self._optimizer.zero_grad(set_to_none=set_to_none)

    def step(self, scaler: torch.amp.GradScaler) -> None:
        """Step through `scaler`, which only passes the call on if it is not enabled."""
        scaler.step(self._optimizer)
        scaler.update()


class InBackward:
    """One optimizer per parameter; a hook steps it once the gradient is computed, and frees the gradient.

    Source: the PyTorch tutorial "How to save memory by fusing the optimizer step into the backward pass".
    """

    def __init__(self, model: nn.Module, spec: OptimizerConfig) -> None:
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
