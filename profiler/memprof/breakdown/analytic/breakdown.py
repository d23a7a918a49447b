"""Calculate the analytic estimate of each point of a sweep, category by category."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from memprof.breakdown.analytic.activations import activations_bytes
from memprof.breakdown.analytic.fake_cuda import FakeCudaModel
from memprof.breakdown.analytic.optimizer_state import optimizer_state_bytes
from memprof.config.schema import Mode, OptimizerConfig, SweepConfig
from memprof.records import Breakdown
from memprof.workload.batches import make_batch
from memprof.workload.losses import build_loss

Point = tuple[OptimizerConfig | None, int]


def break_down(model: nn.Module, config: SweepConfig, points: Sequence[Point]) -> list[Breakdown]:
    """Return the breakdown of each (optimizer, batch size), in the order of `points`.

    Parameters, buffers, gradients and inputs are the number of elements times the bytes per element. `model` loses
    its values. In inference there are no gradients and no optimizer state, and autograd saves nothing. If the
    optimizer steps in backward, one gradient exists at a time: the largest counts.

    Raises:
        WorkloadError: an optimizer or the loss cannot be built, or the model does not accept the config's input.
    """
    fake_model = FakeCudaModel(model)
    states = {_key(spec): _state_bytes(fake_model, spec) for spec in _distinct(points)}
    batches = {size: _batch_bytes(fake_model, config, size) for size in dict.fromkeys(size for _, size in points)}
    gradients_bytes = _gradients_bytes(model, config)
    return [
        Breakdown(
            parameters_bytes=bytes_of(model.parameters()),
            buffers_bytes=bytes_of(model.buffers()),
            gradients_bytes=gradients_bytes,
            optimizer_state_bytes=states[_key(spec)],
            input_bytes=batches[size][0],
            activations_bytes=batches[size][1],
        )
        for spec, size in points
    ]


def _gradients_bytes(model: nn.Module, config: SweepConfig) -> int:
    """Return the bytes of the gradients that exist at the same time."""
    if config.mode is Mode.INFERENCE:
        return 0
    each = [bytes_of([parameter]) for parameter in model.parameters() if parameter.requires_grad]
    return max(each, default=0) if config.optimizer_in_backward else sum(each)


def _state_bytes(model: FakeCudaModel, spec: OptimizerConfig | None) -> int | None:
    return 0 if spec is None else optimizer_state_bytes(model, spec)


def _batch_bytes(model: FakeCudaModel, config: SweepConfig, batch_size: int) -> tuple[int, int | None]:
    """Return the bytes of the batch, including the target, and of its activations."""
    batch = make_batch(config, batch_size, torch.device("meta"))
    if config.mode is Mode.INFERENCE:
        with torch.no_grad():  # so that the model reports a wrong input
            activations_bytes(model, config, batch, no_loss)
        return bytes_of(batch.tensors), 0
    return bytes_of(batch.tensors), activations_bytes(model, config, batch, build_loss(config))


def no_loss(output: Any, target: Tensor | None) -> Tensor:
    """Return the loss of inference, zero."""
    del output, target
    return torch.zeros(())


def _distinct(points: Iterable[Point]) -> list[OptimizerConfig | None]:
    return list({_key(spec): spec for spec, _ in points}.values())


def _key(spec: OptimizerConfig | None) -> str:
    return "" if spec is None else spec.model_dump_json()


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """Return the sum over `tensors` of the number of elements times the bytes per element."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
