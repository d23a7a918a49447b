"""Check that a mesh fits a model, before any rank runs: its layers, heads and sequence."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from memprof.config.schema import SweepConfig
from memprof.errors import WorkloadError
from memprof.workload.parallel.expert import find_expert_plan
from memprof.workload.parallel.model import blocks_to_shard
from memprof.workload.parallel.pipeline import find_trunk
from memprof.workload.parallel.tensor import find_plan


def check_mesh(model: nn.Module, config: SweepConfig, folder: Path) -> None:
    """Do nothing if one rank of the config's mesh can have its part of `model`.

    Raises:
        WorkloadError: the model has no blocks, no layer is split, or the mesh does not divide heads or the sequence.
    """
    parallel = config.parallel
    if parallel is None:
        return
    if parallel.is_fsdp:
        blocks_to_shard(model, parallel.fsdp, config.model.name)
    if parallel.mesh.pipeline > 1:
        find_trunk(model, parallel.mesh.pipeline * parallel.pipeline.stages_on_each, config.model.name)
    if parallel.mesh.expert > 1:
        find_expert_plan(model, parallel.mesh.expert, config.model.name)
    _check_context(config, parallel.mesh.context)
    ranks = parallel.mesh.tensor
    if ranks == 1:
        return
    if parallel.tensor.plan == "auto":
        find_plan(model, config, ranks, folder)
    tokens = config.sizes.get("seq_len")
    if parallel.tensor.sequence_parallel and tokens is not None and tokens // parallel.mesh.context % ranks:
        raise WorkloadError(
            f"parallel.mesh.tensor: {ranks} does not divide the sequence of {tokens:,} tokens, which "
            "tensor.sequence_parallel splits"
        )


def _check_context(config: SweepConfig, ranks: int) -> None:
    """Refuse a sequence that cannot be split: each rank gets a piece from its front and one from its end."""
    tokens = config.sizes.get("seq_len")
    if ranks > 1 and tokens is not None and tokens % (2 * ranks):
        raise WorkloadError(
            f"parallel.mesh.context: 2 × {ranks} does not divide the sequence of {tokens:,} tokens; each rank gets two "
            "pieces of it"
        )
