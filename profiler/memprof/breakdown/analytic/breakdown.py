"""Calculate the analytic estimate of each point of a sweep, category by category."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from memprof.breakdown.analytic.activations import run_forward
from memprof.breakdown.analytic.fake_cuda import FakeCudaModel
from memprof.breakdown.analytic.optimizer_state import optimizer_state_bytes
from memprof.breakdown.analytic.workspaces import keeps_workspaces, workspaces_bytes
from memprof.config.schema import Mode, OptimizerConfig, SweepConfig
from memprof.gpus.traits import GpuTraits
from memprof.records import Breakdown, sum_of_known
from memprof.workload.batches import make_batch
from memprof.workload.ema import copies_of_weights
from memprof.workload.losses import build_loss
from memprof.workload.meta import tensor_bytes
from memprof.workload.quantization import quantization_bytes

Point = tuple[OptimizerConfig | None, int]


def break_down(model: nn.Module, config: SweepConfig, points: Sequence[Point], gpu: GpuTraits) -> list[Breakdown]:
    """Return the breakdown of each (optimizer, batch size), in the order of `points`.

    Parameters, buffers, gradients and inputs are the number of elements times the bytes per element. `model` loses
    its values. In inference there are no gradients and no optimizer state, and autograd saves nothing. If the
    optimizer steps in backward, one gradient exists at a time: the largest counts. A moving average of the weights is a
    second copy of parameters and buffers; the scales of quantized weights count as parameters. Workspaces are those of
    cuBLAS on `gpu`.

    Raises:
        WorkloadError: an optimizer or the loss cannot be built, or the model does not accept the config's input.
    """
    fake_model = FakeCudaModel(model)
    states = {_key(spec): _state_bytes(fake_model, spec) for spec in _distinct(points)}
    batches = {size: _for_batch(fake_model, config, size) for size in dict.fromkeys(size for _, size in points)}
    workspace_bytes = workspaces_bytes(gpu, os.environ)
    gradients_bytes = _gradients_bytes(model, config)
    copies = copies_of_weights(config)
    scales_bytes = sum(quantization_bytes(model).values())
    weights = (bytes_of(model.parameters()) + scales_bytes) * copies, bytes_of(model.buffers()) * copies
    return [
        _breakdown(weights, gradients_bytes, states[_key(spec)], batches[size], workspace_bytes)
        for spec, size in points
    ]


@dataclass(frozen=True, kw_only=True)
class _ForBatch:
    """What depends on the batch. Activations are ``None`` if the model needs values."""

    input_bytes: int  # with the target
    target_bytes: int
    activations_bytes: int | None
    saved_by_loss_bytes: int
    threads: int  # whose workspaces of cuBLAS exist at the same time


def _breakdown(
    weights: tuple[int, int], gradients_bytes: int, state_bytes: int | None, batch: _ForBatch, workspace_bytes: int
) -> Breakdown:
    parameters_bytes, buffers_bytes = weights
    textbook = (
        *(parameters_bytes, gradients_bytes, state_bytes, batch.input_bytes - batch.target_bytes),
        None if batch.activations_bytes is None else batch.activations_bytes - batch.saved_by_loss_bytes,
    )
    return Breakdown(
        parameters_bytes=parameters_bytes,
        buffers_bytes=buffers_bytes,
        gradients_bytes=gradients_bytes,
        optimizer_state_bytes=state_bytes,
        input_bytes=batch.input_bytes,
        activations_bytes=batch.activations_bytes,
        workspace_bytes=batch.threads * workspace_bytes,
        textbook_total_bytes=sum_of_known(textbook),
    )


def _gradients_bytes(model: nn.Module, config: SweepConfig) -> int:
    """Return the bytes of the gradients that exist at the same time."""
    if config.mode is Mode.INFERENCE:
        return 0
    each = [bytes_of([parameter]) for parameter in model.parameters() if parameter.requires_grad]
    return max(each, default=0) if config.optimizer_in_backward else sum(each)


def _state_bytes(model: FakeCudaModel, spec: OptimizerConfig | None) -> int | None:
    return 0 if spec is None else optimizer_state_bytes(model, spec)


def _for_batch(model: FakeCudaModel, config: SweepConfig, batch_size: int) -> _ForBatch:
    batch = make_batch(config, batch_size, torch.device("meta"))
    training = config.mode is Mode.TRAIN
    with nullcontext() if training else torch.no_grad():  # also in inference, so that the model reports a wrong input
        forward = run_forward(model, config, batch, build_loss(config) if training else no_loss, lambda: None)
    return _ForBatch(
        input_bytes=bytes_of(batch.tensors),
        target_bytes=bytes_of(batch.targets),
        activations_bytes=(None if forward is None else forward.saved_bytes) if training else 0,
        saved_by_loss_bytes=forward.saved_by_loss_bytes if forward and training else 0,
        threads=(2 if training and keeps_workspaces(os.environ) else 1)
        if forward is None or forward.uses_cublas
        else 0,
    )


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
    return sum(map(tensor_bytes, tensors))
