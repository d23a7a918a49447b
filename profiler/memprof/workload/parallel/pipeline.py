"""Pipeline parallelism: the stages of one rank, and the schedule that sends microbatches through them."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.pipelining import PipelineStage
from torch.distributed.pipelining.schedules import PipelineScheduleSingle, get_schedule_class

from memprof.config.schema import SweepConfig
from memprof.errors import WorkloadError
from memprof.workload.batches import Batch, make_batch
from memprof.workload.checkpointing import find_blocks
from memprof.workload.losses import build_loss, predictions
from memprof.workload.parallel.tensor import EMBEDDINGS, OUTPUTS, named_modules
from memprof.workload.precision import weights_dtype


def find_trunk(model: nn.Module, stages: int, name: str) -> str:
    """Return the path of the list of all blocks, which `stages` divides.

    Raises:
        WorkloadError: there is no such list, no embedding in front of it or no output layer after it; or `stages` does
            not divide it.
    """
    blocks = set(find_blocks(model))
    trunks: list[str] = [path for path, part in model.named_modules() if _is_list_of(part, blocks)]
    ends = named_modules(model, EMBEDDINGS, nn.Embedding), named_modules(model, OUTPUTS, nn.Linear)
    if len(trunks) != 1 or not all(len(found) == 1 for found in ends):
        raise WorkloadError(
            f"parallel.mesh.pipeline: model {name!r} cannot be cut into stages: it needs one list of blocks, an "
            f"embedding called {' or '.join(sorted(EMBEDDINGS))}, and a last layer {' or '.join(sorted(OUTPUTS))}"
        )
    count = len(list(model.get_submodule(trunks[0]).children()))
    if count % stages:
        raise WorkloadError(f"parallel.mesh.pipeline: {stages} does not divide the {count} blocks of {trunks[0]}")
    return trunks[0]


def cut_stages(model: nn.Module, config: SweepConfig, held: Sequence[int], stages: int) -> nn.Module:
    """Return the stages `held` of `stages` that a rank has: `model` itself if it is one, else a list of its parts."""
    parts = [model, *(copy.deepcopy(model) for _ in held[1:])]  # on the meta device, so the copies take no memory
    for part, stage in zip(parts, held, strict=True):
        _cut_stage(part, config, stage, stages)
    return model if len(parts) == 1 else nn.ModuleList(parts)


def stages_in(module: nn.Module) -> list[nn.Module]:
    """Return the stages in what `cut_stages` returned."""
    return list(module) if isinstance(module, nn.ModuleList) else [module]


def _cut_stage(model: nn.Module, config: SweepConfig, stage: int, stages: int) -> None:
    """Leave of `model` the blocks of one stage: the first also has the embedding, the last the norm and the output."""
    trunk = find_trunk(model, stages, config.model.name)
    blocks = list(model.get_submodule(trunk).children())
    size = len(blocks) // stages
    _replace(model, trunk, nn.ModuleList(blocks[stage * size : (stage + 1) * size]))
    parent = trunk.rpartition(".")[0]
    norms = [path for path, part in model.named_modules() if path.rpartition(".")[0] == parent and _is_norm(path, part)]
    unused = named_modules(model, EMBEDDINGS, nn.Embedding) if stage else []
    if stage < stages - 1:
        unused += [*norms, *named_modules(model, OUTPUTS, nn.Linear)]
    for path in unused:
        _replace(model, path, nn.Identity())
    returns_loss = stage == stages - 1 and config.loss.name == "output"
    loss = build_loss(config)

    def as_tensor(_: nn.Module, __: Any, output: Any) -> Tensor:
        # The outputs of the microbatches are concatenated, which needs a dimension.
        return loss(output, None).unsqueeze(0) if returns_loss else predictions(output)[0]

    model.register_forward_hook(as_tensor)
    if stage < stages - 1:
        model.register_forward_pre_hook(_without_labels, with_kwargs=True)


def _without_labels(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:
    """Drop the labels, which the schedule hands to all stages of a rank that has the last one."""
    return args, {name: value for name, value in kwargs.items() if name != "labels"}


# It logs the whole schedule if a stage fails, also for want of memory; the row has the reason.
logging.getLogger("torch.distributed.pipelining").setLevel(logging.CRITICAL)


class Pipeline:
    """The stages of one rank and their schedule; calling it runs all microbatches of a batch, forward and backward."""

    def __init__(self, module: nn.Module, config: SweepConfig, mesh: DeviceMesh, hidden: int, batch_size: int) -> None:
        """Prepare the schedule for batches of `batch_size`; `module` has the stages.

        `hidden` is the width of the residual stream.

        Raises:
            WorkloadError: the microbatches do not divide the batch, or the schedule does not take their number.
        """
        options = config.parallel.pipeline if config.parallel else None
        if options is None:
            raise ValueError("the config has no section parallel")
        if batch_size % options.microbatches:
            raise WorkloadError(
                f"parallel.pipeline.microbatches: {options.microbatches} does not divide the local batch {batch_size}"
            )
        self._config, self._loss = config, build_loss(config)
        self._held = options.stages_of(mesh.get_local_rank(), mesh.size())
        self._last = mesh.size() * options.stages_on_each - 1
        tokens = _first(make_batch(config, batch_size // options.microbatches, torch.device("meta")))
        self._tokens = tokens.shape
        between = tokens.new_empty((*_part(tokens.shape, config), hidden), dtype=_dtype(config)).requires_grad_()
        stages = [
            self._make_stage(part, stage, mesh, tokens, between)
            for part, stage in zip(stages_in(module), self._held, strict=True)
        ]
        schedule = get_schedule_class(options.schedule)
        takes_one = issubclass(schedule, PipelineScheduleSingle)
        try:
            self._schedule = schedule(stages[0] if takes_one else stages, options.microbatches, loss_fn=self._loss_of)
        except ValueError as error:
            raise WorkloadError(f"parallel.pipeline.schedule: {error}") from error

    def _make_stage(
        self, part: nn.Module, stage: int, mesh: DeviceMesh, tokens: Tensor, between: Tensor
    ) -> PipelineStage:
        return PipelineStage(
            part,
            stage,
            self._last + 1,
            torch.device("cuda", torch.cuda.current_device()),
            input_args=(between if stage else tokens,),
            output_args=(between if stage < self._last else self._output(part, between),),
            group=mesh.get_group(),
        )

    def __call__(self, batch: Batch) -> Sequence[Tensor]:
        """Run the schedule, and return the losses if the last stage is here."""
        losses: list[Tensor] = []
        labels = {name: value for name, value in batch.keywords.items() if name == "labels"}
        keywords = {name: value for name, value in batch.keywords.items() if name not in (*labels, _first_name(batch))}
        arguments = (_first(batch), *batch.inputs[1:]) if self._held[0] == 0 else ()
        if self._last not in self._held:
            self._schedule.step(*arguments, **keywords)
            return losses
        target = next(iter(labels.values()), batch.target)
        self._schedule.step(*arguments, **keywords, **labels, target=target, losses=losses)
        return losses

    def _output(self, last: nn.Module, between: Tensor) -> Tensor:
        """Return a tensor like the output of the last stage: the loss, or the logits."""
        if self._config.loss.name == "output":
            return between.new_empty((1,), dtype=torch.float32)
        (path,) = named_modules(last, OUTPUTS, nn.Linear)
        classes = getattr(last.get_submodule(path), "out_features")  # noqa: B009
        return between.new_empty((*self._tokens, classes))

    def _loss_of(self, output: Tensor, target: Tensor) -> Tensor:
        # Not a view: a schedule that computes the gradients of inputs and weights apart detaches the loss in place.
        return output.sum() if self._config.loss.name == "output" else self._loss(output, target)


def hidden_size(model: nn.Module) -> int:
    """Return the width of the residual stream, that of the embedding."""
    (path,) = named_modules(model, EMBEDDINGS, nn.Embedding)
    size: int = getattr(model.get_submodule(path), "embedding_dim")  # noqa: B009
    return size


def _first_name(batch: Batch) -> str | None:
    return None if batch.inputs else next(name for name in batch.keywords if name != "labels")


def _first(batch: Batch) -> Tensor:
    """Return the tokens, the only input that goes through the stages."""
    name = _first_name(batch)
    tokens: Tensor = batch.inputs[0] if name is None else batch.keywords[name]
    return tokens


def _part(shape: Sequence[int], config: SweepConfig) -> Sequence[int]:
    """Return the batch and the part of the sequence that a rank sends to the next stage."""
    parallel = config.parallel
    if parallel is None or not parallel.splits_sequence:
        return shape
    return shape[0], shape[1] // parallel.mesh.tensor, *shape[2:]


def _dtype(config: SweepConfig) -> torch.dtype:
    name = config.parallel.fsdp.param_dtype if config.parallel and config.parallel.is_fsdp else None
    dtype: torch.dtype = getattr(torch, name) if name else weights_dtype(config.precision)
    return dtype


def _is_list_of(part: nn.Module, blocks: set[nn.Module]) -> bool:
    children = list(part.children())
    return isinstance(part, nn.ModuleList) and len(children) > 0 and set(children) == blocks


def _is_norm(path: str, part: nn.Module) -> bool:
    return "norm" in path.rpartition(".")[2] and next(part.children(), None) is None


def _replace(model: nn.Module, path: str, part: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, part)
