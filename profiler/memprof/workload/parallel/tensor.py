"""Tensor parallelism: which layers of a model are split by columns and which by rows, and the sequence between them.

The plan is that of PyTorch's tutorial "Large Scale Transformer model training with Tensor Parallel": attention and
feed-forward are each a pair of column-wise and row-wise layers. With sequence parallelism each rank has a part of the
sequence outside of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_module
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)
from torch.utils._pytree import tree_map

from memprof.config.names import user_model
from memprof.config.schema import SweepConfig
from memprof.errors import WorkloadError
from memprof.workload.user_models import call_factory

# The names of the layers in transformers' Llama-like models, and in Meta's own Llama and torchtitan.
_COLUMNS = {"q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "wq", "wk", "wv", "w1", "w3"}
_ROWS = {"o_proj", "down_proj", "wo", "w2"}
_HEADS = {"q_proj": "attention heads", "k_proj": "key-value heads", "wq": "attention heads", "wk": "key-value heads"}
EMBEDDINGS = {"embed_tokens", "tok_embeddings"}
OUTPUTS = {"lm_head", "output"}
_SEQUENCE_DIMENSION = 1
Plan = dict[str, ParallelStyle]


def apply_tensor_parallelism(model: nn.Module, config: SweepConfig, mesh: DeviceMesh, folder: Path) -> None:
    """Split the layers of `model`, which is on the meta device, over the ranks of `mesh`.

    Raises:
        WorkloadError: the plan matches no layer, or `mesh` does not divide what it splits.
    """
    ties = list(_tied_parameters(model))
    plan = find_plan(model, config, mesh.size(), folder)
    try:
        parallelize_module(model, mesh, plan)
    except (RuntimeError, ValueError, NotImplementedError, TypeError) as error:
        raise WorkloadError(f"parallel.tensor.plan: PyTorch refuses the plan: {error}") from error
    for places in ties:
        _tie_again(places)
    if config.parallel and config.parallel.splits_sequence:
        _number_whole_sequence(model, mesh.size())


def find_plan(model: nn.Module, config: SweepConfig, ranks: int, folder: Path) -> Plan:
    """Return the plan of the config for `model`, whose layers `ranks` must divide.

    Raises:
        WorkloadError: as `apply_tensor_parallelism`.
    """
    options = config.parallel.tensor if config.parallel else None
    if options is None:
        raise ValueError("the config has no section parallel")
    if options.plan != "auto":
        return _users_plan(model, options.plan, folder)
    layers = dict(_split_layers(model))
    if not layers:
        raise WorkloadError(
            f"parallel.tensor.plan: auto matches no layer of model {config.model.name!r}; it knows q_proj, k_proj, "
            "v_proj, o_proj, gate_proj, up_proj, down_proj, and wq, wk, wv, wo, w1, w2, w3; write FILE.py:FUNCTION"
        )
    for path, layer in layers.items():
        _check_divides(path, layer, ranks, model)
    plan = _with_sequence(model, layers) if options.sequence_parallel else _without_sequence(model, layers)
    return plan | {path: _Whole() for path in _with_other_parameters(model, plan)}


def _users_plan(model: nn.Module, name: str, folder: Path) -> Plan:
    own = user_model(name)
    if own is None:
        raise WorkloadError(f"parallel.tensor.plan: {name!r} is neither auto nor FILE.py:FUNCTION")
    plan = call_factory(name, own, {"model": model}, folder)
    if not isinstance(plan, dict) or not plan:
        raise WorkloadError(f"parallel.tensor.plan: {name} returned {type(plan).__name__}, not a plan with entries")
    return plan


def _split_layers(model: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """Yield the layers of attention and feed-forward that the plan splits, by path."""
    for path, module in model.named_modules():
        if path.rpartition(".")[2] in _COLUMNS | _ROWS and isinstance(module, nn.Linear):
            yield path, module


def _check_divides(path: str, layer: nn.Linear, ranks: int, model: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    size = layer.out_features if name in _COLUMNS else layer.in_features
    head_size = getattr(model.get_submodule(parent), "head_dim", None)
    if name in _HEADS and isinstance(head_size, int) and (size // head_size) % ranks:
        raise WorkloadError(
            f"parallel.mesh.tensor: {ranks} does not divide the {size // head_size} {_HEADS[name]} of {parent}"
        )
    if size % ranks:
        raise WorkloadError(f"parallel.mesh.tensor: {ranks} does not divide the {size:,} features of {path}")


def _without_sequence(model: nn.Module, layers: Mapping[str, nn.Linear]) -> Plan:
    plan: Plan = {path: _column_or_row(path, RowwiseParallel()) for path in layers}
    for path in named_modules(model, EMBEDDINGS, nn.Embedding):
        plan[path] = RowwiseParallel(input_layouts=Replicate())
    for path in named_modules(model, OUTPUTS, nn.Linear):
        plan[path] = ColwiseParallel(output_layouts=Replicate())
    return plan


def _with_sequence(model: nn.Module, layers: Mapping[str, nn.Linear]) -> Plan:
    """Return the plan in which embeddings, norms and the residual stream have a part of the sequence each."""
    part = Shard(_SEQUENCE_DIMENSION)
    plan: Plan = {path: _column_or_row(path, RowwiseParallel(output_layouts=part)) for path in layers}
    parents = {path.rpartition(".")[0] for path in layers}
    plan |= {path: _GatherSequence() for path in parents}
    for path in _norms_between(model, parents):
        plan[path] = SequenceParallel(sequence_dim=_SEQUENCE_DIMENSION)
    for path in named_modules(model, EMBEDDINGS, nn.Embedding):
        plan[path] = RowwiseParallel(input_layouts=Replicate(), output_layouts=part)
    for path in named_modules(model, OUTPUTS, nn.Linear):
        plan[path] = ColwiseParallel(input_layouts=part, output_layouts=Replicate())
    return plan


def _column_or_row(path: str, row: ParallelStyle) -> ParallelStyle:
    return ColwiseParallel() if path.rpartition(".")[2] in _COLUMNS else row


def named_modules(model: nn.Module, names: set[str], kind: type[nn.Module]) -> list[str]:
    """Return the paths of the modules of one class whose own name is one of `names`."""
    return [path for path, module in model.named_modules() if path.rpartition(".")[2] in names and type(module) is kind]


def _norms_between(model: nn.Module, split: set[str]) -> list[str]:
    """Return the norms of the residual stream: next to attention and feed-forward, and after the last block."""
    blocks = {path.rpartition(".")[0] for path in split}
    return [
        path
        for path, module in model.named_modules()
        if "norm" in path.rpartition(".")[2]
        and path.rpartition(".")[0] in blocks | _trunks(split)
        and next(module.children(), None) is None
        and not isinstance(module, nn.Identity)  # in place of the norm that another stage of a pipeline has
    ]


def _trunks(split: set[str]) -> set[str]:
    """Return the paths of the modules with the lists of blocks: ``model`` for model.layers.0.mlp."""
    return {path.rpartition(".")[0].rpartition(".")[0].rpartition(".")[0] for path in split}


def _with_other_parameters(model: nn.Module, plan: Plan) -> list[str]:
    """Return the modules that the plan leaves as they are, and that have parameters of their own."""
    own = (path for path, module in model.named_modules() if next(module.parameters(recurse=False), None) is not None)
    return [path for path in own if path and path not in plan]


class _Whole(ParallelStyle):
    """Give each rank all parameters of a module, as DTensors: an optimizer takes no mixture with plain tensors."""

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        def to_whole(_: nn.Module, inputs: Any, mesh: DeviceMesh) -> Any:
            return tree_map(lambda leaf: _as_whole(leaf, mesh), inputs)

        def to_local(_: nn.Module, outputs: Any, mesh: DeviceMesh) -> Any:
            del mesh
            return tree_map(lambda leaf: leaf.to_local() if isinstance(leaf, DTensor) else leaf, outputs)

        return distribute_module(module, device_mesh, None, to_whole, to_local)


def _as_whole(leaf: Any, mesh: DeviceMesh) -> Any:
    if not isinstance(leaf, Tensor) or isinstance(leaf, DTensor):
        return leaf
    return DTensor.from_local(leaf, mesh, (Replicate(),), run_check=False)


class _GatherSequence(ParallelStyle):
    """Gather the parts of the sequence before a module runs, from its first input however that is passed."""

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        def gather(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:
            if args:
                return (_gathered(args[0], device_mesh), *args[1:]), kwargs
            name = next(iter(kwargs))
            return args, {**kwargs, name: _gathered(kwargs[name], device_mesh)}

        module.register_forward_pre_hook(gather, with_kwargs=True)
        return module


def _gathered(part: Any, mesh: DeviceMesh) -> DTensor:
    if not isinstance(part, DTensor):
        part = DTensor.from_local(part, mesh, (Shard(_SEQUENCE_DIMENSION),), run_check=False)
    whole: DTensor = part.redistribute(placements=(Replicate(),))
    return whole


def _number_whole_sequence(model: nn.Module, ranks: int) -> None:
    """Let a transformers model number the positions of the whole sequence: it numbers those that it gets."""
    embeddings = named_modules(model, EMBEDDINGS, nn.Embedding)
    owners = {path.rpartition(".")[0] for path in embeddings}
    if not embeddings:  # a later stage of a pipeline, which gets its part of the sequence
        owners = _trunks({path.rpartition(".")[0] for path, _ in _split_layers(model)})
    numbering = partial(_number_positions, parts=1 if embeddings else ranks)
    for path in owners:
        model.get_submodule(path).register_forward_pre_hook(numbering, with_kwargs=True)


def _number_positions(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], parts: int
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Number the tokens of the sequence of which the input is one of `parts`."""
    del module
    tokens = kwargs.get("input_ids")
    if tokens is None or kwargs.get("position_ids") is not None:
        return None
    positions = torch.arange(parts * tokens.shape[_SEQUENCE_DIMENSION], device=tokens.device).unsqueeze(0)
    return args, {**kwargs, "position_ids": positions}


Place = tuple[nn.Module, str]


def _tied_parameters(model: nn.Module) -> Iterator[list[Place]]:
    places: dict[int, list[Place]] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                places.setdefault(id(parameter), []).append((module, name))
    return (found for found in places.values() if len(found) > 1)


def _tie_again(places: list[Place]) -> None:
    """Let the modules share one parameter again, if the plan split it in the same way for all."""
    found = [module._parameters[name] for module, name in places]
    layouts = {parameter.placements if isinstance(parameter, DTensor) else None for parameter in found}
    if len(layouts) == 1:
        for module, name in places:
            module._parameters[name] = found[0]
