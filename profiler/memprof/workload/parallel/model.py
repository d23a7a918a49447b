"""Give a model the part that one rank has of it: tensor parallelism first, then FSDP2 or DDP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard

from memprof.config.parallel import FsdpConfig, ParallelConfig
from memprof.config.schema import SweepConfig
from memprof.errors import WorkloadError
from memprof.workload.checkpointing import find_blocks
from memprof.workload.meta import is_on_meta, move_to_device, move_to_meta
from memprof.workload.parallel.expert import distribute_experts, shard_experts
from memprof.workload.parallel.fsdp1 import shard_flat
from memprof.workload.parallel.offload import move_to_host
from memprof.workload.parallel.pipeline import cut_stages, stages_in
from memprof.workload.parallel.tensor import apply_tensor_parallelism
from memprof.workload.parallel.world import open_mesh
from memprof.workload.precision import named_dtype


def distribute(
    model: nn.Module, config: SweepConfig, device: torch.device, folder: Path
) -> tuple[nn.Module, DeviceMesh]:
    """Turn `model` into its part on the config's rank, on `device`; return the module to call, and the mesh.

    That is `model`, DDP around it, or a list of the stages of a pipeline. A sharded model gets memory for its own part
    only: it is on the meta device until it is sharded, as torchtitan does it.

    Raises:
        WorkloadError: the model has no blocks or no plan, or the mesh does not divide it.
    """
    parallel = _parallel_of(config)
    mesh = open_mesh(parallel, device)
    if parallel.is_ddp:
        return _with_ddp(move_to_device(model, device), parallel, device), mesh
    if not is_on_meta(model):
        move_to_meta(model)
    if parallel.is_fsdp and parallel.fsdp.version == 1:
        blocks = blocks_to_shard(model, parallel.fsdp, config.model.name)
        return shard_flat(model, parallel.fsdp, blocks, _sharding_mesh(parallel, mesh), device), mesh
    if (ranks := parallel.mesh.pipeline) > 1:
        held = parallel.pipeline.stages_of(mesh["pipeline"].get_local_rank(), ranks)
        model = cut_stages(model, config, held, ranks * parallel.pipeline.stages_on_each)
    for part in stages_in(model) if ranks > 1 else [model]:
        if parallel.mesh.tensor > 1:
            apply_tensor_parallelism(part, config, mesh["tensor"], folder)
        experts = distribute_experts(part, mesh, config.model.name) if parallel.mesh.expert > 1 else []
        if parallel.is_fsdp:
            _shard(part, parallel, mesh, experts, config.model.name)
    return move_to_host(model, device) if parallel.offloads else model.to_empty(device=device), mesh


def _parallel_of(config: SweepConfig) -> ParallelConfig:
    if config.parallel is None:
        raise ValueError("the config has no section parallel")
    return config.parallel


def _with_ddp(model: nn.Module, parallel: ParallelConfig, device: torch.device) -> nn.Module:
    return nn.parallel.DistributedDataParallel(
        model,
        device_ids=[device.index],
        bucket_cap_mb=parallel.ddp.bucket_cap_mb,
        gradient_as_bucket_view=parallel.ddp.gradient_as_bucket_view,
    )


def _sharding_mesh(parallel: ParallelConfig, mesh: DeviceMesh) -> DeviceMesh:
    """Return the mesh of the ranks that share the parameters, those with parts of one sequence among them."""
    shared = [name for name in ("shard", "expert", "context") if parallel.mesh.sizes[name] > 1]
    name = "_".join(shared)
    if len(shared) > 1:
        mesh[tuple(shared)]._flatten(name)
    return _with_copies(parallel, mesh, name)


def _with_copies(parallel: ParallelConfig, mesh: DeviceMesh, name: str) -> DeviceMesh:
    return mesh["replicate", name] if parallel.mesh.replicate > 1 else mesh[name]


def _shard(model: nn.Module, parallel: ParallelConfig, mesh: DeviceMesh, experts: list[nn.Module], name: str) -> None:
    """Call `fully_shard` for the experts, for each block, and then for the model with what is left."""
    fsdp, shared = parallel.fsdp, _sharding_mesh(parallel, mesh)
    options: dict[str, Any] = {
        "mp_policy": MixedPrecisionPolicy(
            param_dtype=named_dtype(fsdp.param_dtype), reduce_dtype=named_dtype(fsdp.reduce_dtype)
        ),
        "offload_policy": CPUOffloadPolicy() if fsdp.offload else OffloadPolicy(),
        "reshard_after_forward": fsdp.reshard_after_forward,
    }
    if experts:
        shard_experts(experts, _with_copies(parallel, mesh, "shard"), parallel.mesh.world_size, options)
    for module in (*blocks_to_shard(model, fsdp, name), model):
        fully_shard(module, mesh=shared, **options)


def blocks_to_shard(model: nn.Module, fsdp: FsdpConfig, name: str) -> list[nn.Module]:
    """Return the blocks that are sharded one by one.

    Raises:
        WorkloadError: the model has none.
    """
    if fsdp.wrap == "root":
        return []
    blocks = list(dict.fromkeys(find_blocks(model)))
    if not blocks:
        raise WorkloadError(
            f"parallel.fsdp.wrap: model {name!r} has no blocks: none of its nn.Sequential, nn.ModuleList and "
            "nn.ModuleDict parts has a module that contains layers; write wrap: root"
        )
    return blocks
