"""CPU offload of FSDP2: a rank's parameters, gradients and optimizer state in host memory."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from memprof.config.schema import OptimizerConfig
from memprof.errors import WorkloadError
from memprof.units import format_bytes
from memprof.workload.frozen import trained_parameters
from memprof.workload.optimizers import build_optimizer

_MEMORY_FILE = Path("/proc/meminfo")


def move_to_host(model: nn.Module, device: torch.device) -> nn.Module:
    """Give the sharded parameters of `model`, which is on the meta device, host memory, and its buffers `device`'s.

    Raises:
        WorkloadError: the host has less memory than parameters and gradients need here.
    """
    parts = [local_part(parameter) for parameter in model.parameters()]
    needed_bytes = sum(part.nbytes for part in parts) + sum(part.nbytes for part in parts if part.requires_grad)
    available_bytes = host_available_bytes()
    if available_bytes is not None and needed_bytes > available_bytes:
        raise WorkloadError(
            f"parallel.fsdp.offload: parameters and gradients of one rank take {format_bytes(needed_bytes)} of host "
            f"memory, and {format_bytes(available_bytes)} are available; set more ranks to mesh.shard"
        )
    buffers = [(module, name) for module in model.modules() for name in module._buffers]
    model.to_empty(device="cpu")
    for module, name in buffers:
        buffer = module._buffers[name]
        module._buffers[name] = None if buffer is None else torch.empty_like(buffer, device=device)
    return model


def host_available_bytes() -> int | None:
    """Return the memory that new processes can have; ``None`` if the system does not say."""
    try:
        lines = _MEMORY_FILE.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    kib = next(found, None)
    return None if kib is None else int(kib) * 1024


def offloaded_bytes(model: nn.Module, spec: OptimizerConfig) -> int | None:
    """Return what a rank keeps in host memory: parameters, gradients and optimizer state; ``None`` if unknown.

    The state is that of a step without memory, on the meta device.
    """
    kept = [local_part(parameter) for parameter in model.parameters()]
    trained = [nn.Parameter(torch.empty_like(local_part(one), device="meta")) for one in trained_parameters(model)]
    optimizer = build_optimizer(spec, trained)
    for parameter in trained:
        parameter.grad = torch.empty_like(parameter)
    try:
        optimizer.step()
    except (RuntimeError, NotImplementedError):  # its step needs values
        return None
    state = [value for values in optimizer.state.values() for value in values.values() if isinstance(value, Tensor)]
    return sum(tensor.nbytes for tensor in (*kept, *trained, *state))


def local_part(parameter: Tensor) -> Tensor:
    """Return this rank's part of a parameter."""
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter
