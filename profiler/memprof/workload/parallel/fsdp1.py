"""FSDP1, `FullyShardedDataParallel`: the parameters of each block are one flat tensor, of which a rank has a part."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FullyShardedDataParallel, MixedPrecision, ShardingStrategy
from torch.distributed.fsdp.wrap import CustomPolicy

from memprof.config.parallel import FsdpConfig
from memprof.workload.precision import named_dtype


def shard_flat(
    model: nn.Module, fsdp: FsdpConfig, blocks: Sequence[nn.Module], mesh: DeviceMesh, device: torch.device
) -> nn.Module:
    """Return FSDP around `model`, which is on the meta device, and around each of `blocks`.

    Each flat parameter gets whole memory for a moment, as with FSDP1's own initialization from the meta device.
    """
    chosen = set(blocks)

    def without_values(module: nn.Module) -> None:
        module.to_empty(device=device, recurse=False)

    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # PyTorch recommends FSDP2
        return FullyShardedDataParallel(
            model,
            device_mesh=mesh,
            device_id=device,
            sharding_strategy=_strategy(fsdp, copies=mesh.ndim > 1),
            auto_wrap_policy=CustomPolicy(lambda module: module in chosen),
            mixed_precision=MixedPrecision(
                param_dtype=named_dtype(fsdp.param_dtype), reduce_dtype=named_dtype(fsdp.reduce_dtype)
            ),
            param_init_fn=without_values,
            use_orig_params=True,
        )


def _strategy(fsdp: FsdpConfig, *, copies: bool) -> ShardingStrategy:
    if fsdp.reshard_after_forward:
        return ShardingStrategy.HYBRID_SHARD if copies else ShardingStrategy.FULL_SHARD
    return ShardingStrategy._HYBRID_SHARD_ZERO2 if copies else ShardingStrategy.SHARD_GRAD_OP
