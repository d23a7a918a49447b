"""Expert parallelism as transformers does it: each rank has some experts, and tokens go to the ranks of theirs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from memprof.errors import WorkloadError

_DISPATCH, _WEIGHTS = "ep_dispatch_experts", "grouped_gemm"  # styles of transformers' plans


def find_expert_plan(model: nn.Module, ranks: int, name: str) -> Mapping[str, str]:
    """Return transformers' plan for the experts of `model`: a style for each module and parameter by its path.

    Raises:
        WorkloadError: there is none, or `ranks` does not divide the experts.
    """
    plan: Any = getattr(model, "ep_plan", None)
    expanded: dict[str, str] = model._expand_parallel_plan(plan) if plan else {}  # type: ignore[operator]
    if _DISPATCH not in expanded.values():
        raise WorkloadError(
            f"parallel.mesh.expert: model {name!r} has no plan for expert parallelism; transformers has one for its "
            "Mixtral, Qwen-MoE and DeepSeek models"
        )
    for path, style in expanded.items():
        if style == _WEIGHTS and (experts := model.get_parameter(path).shape[0]) % ranks:
            raise WorkloadError(f"parallel.mesh.expert: {ranks} does not divide the {experts} experts of {path}")
    return expanded


def distribute_experts(model: nn.Module, mesh: DeviceMesh, name: str) -> list[nn.Module]:
    """Give this rank its experts of `model`, which is on the meta device, and return the modules that have them.

    Raises:
        WorkloadError: as `find_expert_plan`.
    """
    from transformers.distributed.expert_parallel import apply_expert_parallelism

    plan = find_expert_plan(model, mesh["expert"].size(), name)
    apply_expert_parallelism(model, mesh["expert"], mesh["tensor"], dict(plan))
    return [model.get_submodule(path) for path, style in plan.items() if style == _DISPATCH]


def shard_experts(experts: list[nn.Module], mesh: DeviceMesh, batches: int, options: Mapping[str, Any]) -> None:
    """Call `fully_shard` for the experts among the ranks that have the same, as transformers does.

    `batches` is the number of ranks with batches of their own, over which gradients are averaged.
    """
    for module in experts:
        sharded: FSDPModule = fully_shard(module, mesh=mesh, **options)
        sharded.set_gradient_divide_factor(float(batches))
        if mesh.size() > 1:
            sharded.set_force_sum_reduction_for_comms(True)
