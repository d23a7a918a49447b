"""Pipeline parallelism: the blocks of one stage, and the schedule that sends microbatches through it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe
from torch.distributed.pipelining.schedules import PipelineScheduleSingle

from memprof.config.schema import SweepConfig
from memprof.errors import WorkloadError
from memprof.workload.batches import Batch, make_batch
from memprof.workload.checkpointing import find_blocks
from memprof.workload.losses import build_loss, predictions
from memprof.workload.parallel.tensor import EMBEDDINGS, OUTPUTS, named_modules
from memprof.workload.precision import weights_dtype

_SCHEDULES: dict[str, type[PipelineScheduleSingle]] = {"1F1B": Schedule1F1B, "GPipe": ScheduleGPipe}


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


def cut_stage(model: nn.Module, config: SweepConfig, stage: int, stages: int) -> None:
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


class Pipeline:
    """One stage and its schedule; calling it runs forward and backward of all microbatches of a batch."""

    def __init__(self, model: nn.Module, config: SweepConfig, mesh: DeviceMesh, hidden: int, batch_size: int) -> None:
        """Prepare the schedule for batches of `batch_size`; `hidden` is the width of the residual stream.

        Raises:
            WorkloadError: the microbatches do not divide the batch.
        """
        options = config.parallel.pipeline if config.parallel else None
        if options is None:
            raise ValueError("the config has no section parallel")
        if batch_size % options.microbatches:
            raise WorkloadError(
                f"parallel.pipeline.microbatches: {options.microbatches} does not divide the local batch {batch_size}"
            )
        self._config, self._loss = config, build_loss(config)
        self._stage, self._stages = mesh.get_local_rank(), mesh.size()
        micro = make_batch(config, batch_size // options.microbatches, torch.device("meta"))
        between = _first(micro).new_empty((*_first(micro).shape, hidden), dtype=_dtype(config)).requires_grad_()
        stage = PipelineStage(
            model,
            self._stage,
            self._stages,
            torch.device("cuda", torch.cuda.current_device()),
            input_args=(between if self._stage else _first(micro),),
            output_args=(self._output(model, between),),
            group=mesh.get_group(),
        )
        self._schedule = _SCHEDULES[options.schedule](stage, options.microbatches, loss_fn=self._loss_of)

    @property
    def is_last(self) -> bool:
        """Whether this is the stage with the loss."""
        return self._stage == self._stages - 1

    def __call__(self, batch: Batch) -> Sequence[Tensor]:
        """Run the schedule, and return the losses of the last stage."""
        losses: list[Tensor] = []
        labels = {name: value for name, value in batch.keywords.items() if name == "labels"}
        keywords = {name: value for name, value in batch.keywords.items() if name not in (*labels, _first_name(batch))}
        arguments = () if self._stage else (_first(batch), *batch.inputs[1:])
        if not self.is_last:
            self._schedule.step(*arguments, **keywords)
            return losses
        target = next(iter(labels.values()), batch.target)
        self._schedule.step(*arguments, **keywords, **labels, target=target, losses=losses)
        return losses

    def _output(self, model: nn.Module, between: Tensor) -> Tensor:
        """Return a tensor like the output: that of the blocks, the loss, or the logits."""
        if not self.is_last:
            return between
        if self._config.loss.name == "output":
            return between.new_empty((1,), dtype=torch.float32)
        (path,) = named_modules(model, OUTPUTS, nn.Linear)
        classes = getattr(model.get_submodule(path), "out_features")  # noqa: B009
        return between.new_empty((*between.shape[:-1], classes))

    def _loss_of(self, output: Tensor, target: Tensor) -> Tensor:
        return output[0] if self._config.loss.name == "output" else self._loss(output, target)


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
