"""The section `parallel` of a config file: how many GPUs train one model, and which part of it each of them has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from memprof.config.sections import Count, Real, Section

MAX_WORLD_SIZE = 1_000_000
Schedule = Literal["1F1B", "GPipe", "Interleaved1F1B", "InterleavedZeroBubble", "ZBVZeroBubble", "DualPipeV"]
_ONE_STAGE, _V_SHAPED = ("1F1B", "GPipe"), ("ZBVZeroBubble", "DualPipeV")
MOST_RANKS = 1024  # that may run in one sweep
Dtype = Literal["float32", "float16", "bfloat16"]
Ranks = (
    Literal["auto"]
    | Annotated[tuple[Annotated[int, Field(strict=True, ge=0)], ...], Field(min_length=1, max_length=MOST_RANKS)]
)
_ZERO_RANKS = 8  # the parts of ZeroRedundancyOptimizer differ in size from rank to rank


class MeshConfig(Section):
    """The GPUs as a mesh: the product of its dimensions is the number of ranks."""

    pipeline: Count = Field(
        default=1, description="Stages that have some of the blocks each: pipeline parallelism, first stage first."
    )
    replicate: Count = Field(
        default=1, description="Copies of the model: DDP alone, HSDP together with shard. Each gets its own batches."
    )
    shard: Count = Field(
        default=1, description="Ranks that share the parameters, gradients and optimizer state of one copy: FSDP2."
    )
    expert: Count = Field(
        default=1,
        description="Ranks that have some of the experts each: expert parallelism of transformers' models. They share "
        "the other parameters, as with shard, and have batches of their own. It needs routing.",
    )
    context: Count = Field(
        default=1,
        description="Ranks that have a part of each sequence: context parallelism with ring attention. They share the "
        "parameters too, as with shard, and get the same batch.",
    )
    tensor: Count = Field(
        default=1, description="Ranks that share each matrix product: tensor parallelism. They get the same batch."
    )

    @property
    def world_size(self) -> int:
        """The number of ranks."""
        return prod(self.sizes.values())

    @property
    def sizes(self) -> Mapping[str, int]:
        """The size of each dimension, from the slowest rank to the fastest."""
        names = ("pipeline", "replicate", "shard", "expert", "context", "tensor")
        return {name: getattr(self, name) for name in names}

    @property
    def label(self) -> str:
        """The dimensions that have several ranks: ``shard 8 × tensor 2``."""
        return " × ".join(f"{name} {size:,}" for name, size in self.sizes.items() if size > 1) or "1 rank"


class FsdpConfig(Section):
    """The options of FSDP: version 2 is `torch.distributed.fsdp.fully_shard`, version 1 `FullyShardedDataParallel`."""

    version: Literal[1, 2] = Field(
        default=2,
        description="2: FSDP2, fully_shard. 1: FullyShardedDataParallel, with flat parameters and use_orig_params.",
    )
    reshard_after_forward: bool = Field(
        default=True,
        description="Free the gathered parameters of a block after its forward pass; backward gathers them again.",
    )
    param_dtype: Dtype | None = Field(
        default=None,
        description="MixedPrecisionPolicy.param_dtype: the dtype of gathered parameters and of the computation; by "
        "default that of the weights.",
    )
    reduce_dtype: Dtype | None = Field(
        default=None, description="MixedPrecisionPolicy.reduce_dtype: the dtype in which gradients are reduced."
    )
    offload: bool = Field(
        default=False,
        description="CPUOffloadPolicy: parameters, gradients and optimizer state are in host memory. The optimizer's "
        "step is not run: it computes on the CPU and takes no GPU memory.",
    )
    wrap: Literal["blocks", "root"] = Field(
        default="blocks",
        description="What fully_shard is called for: each block of the model and then the model, or the model alone.",
    )


class DdpConfig(Section):
    """The options of `torch.nn.parallel.DistributedDataParallel`."""

    bucket_cap_mb: Real = Field(default=25.0, gt=0, le=1e6, description="The size of a bucket of gradients, in MiB.")
    gradient_as_bucket_view: bool = Field(
        default=False, description="Let gradients be views of the buckets instead of copies."
    )
    zero: bool = Field(
        default=False,
        description="Share the optimizer state among the ranks: torch.distributed.optim.ZeroRedundancyOptimizer.",
    )


class TensorParallelConfig(Section):
    """The options of tensor parallelism, `torch.distributed.tensor.parallel.parallelize_module`."""

    plan: str = Field(
        default="auto",
        min_length=1,
        description="auto, for models with the layer names of Llama; or FILE.py:FUNCTION, which gets the model and "
        "returns a plan of parallelize_module.",
        examples=["auto", "own_model.py:plan"],
    )
    sequence_parallel: bool = Field(
        default=True, description="Also share the norms and the residual stream: each rank has a part of the sequence."
    )


class PipelineConfig(Section):
    """The options of pipeline parallelism, `torch.distributed.pipelining`."""

    schedule: Schedule = Field(
        default="1F1B",
        description="The order of forward and backward passes, by PyTorch's name. 1F1B and GPipe have one stage on "
        "each rank. Interleaved1F1B and InterleavedZeroBubble have several: rank 0 of 4 has stages 0 and 4. "
        "ZBVZeroBubble and DualPipeV have two: rank 0 of 4 has stages 0 and 7.",
    )
    microbatches: Count = Field(default=8, description="The parts of the local batch, which go through the stages.")
    stages_per_rank: Count | None = Field(
        default=None, description="Stages on each rank, with an interleaved schedule. Default: 2 with these, else 1."
    )

    @property
    def stages_on_each(self) -> int:
        """How many stages each rank has."""
        return self.stages_per_rank or (1 if self.schedule in _ONE_STAGE else 2)

    def stages_of(self, rank: int, ranks: int) -> tuple[int, ...]:
        """Return the stages of the rank `rank` of `ranks`."""
        if self.schedule in _V_SHAPED:
            return rank, 2 * ranks - 1 - rank
        return tuple(range(rank, ranks * self.stages_on_each, ranks))

    @model_validator(mode="after")
    def _schedule_has_its_stages(self) -> Self:
        fixed = 1 if self.schedule in _ONE_STAGE else 2 if self.schedule in _V_SHAPED else None
        if fixed is not None and self.stages_on_each != fixed:
            raise ValueError(
                f"stages_per_rank: {self.schedule} has {fixed} on each rank; leave it out, or write Interleaved1F1B"
            )
        return self


class NcclConfig(Section):
    """NCCL's own device memory, which no library reports."""

    bytes_per_communicator: Annotated[int, Field(strict=True, ge=0, le=2**40)] | None = Field(
        default=None,
        description="Device memory of each communicator, outside PyTorch's allocator; by default unknown: not counted, "
        "and reported as unknown.",
    )


def _one_rank(value: Any) -> Any:
    """Return the list of one rank of a number alone."""
    return (value,) if type(value) is int else value


def _dimensions(value: Any) -> Any:
    """Return the mesh of a number alone: that many ranks of FSDP2."""
    return {"shard": value} if type(value) is int else value


class ParallelConfig(Section):
    """One rank of many: the process group has all ranks, and those of `ranks` run, each without the others."""

    mesh: Annotated[MeshConfig, BeforeValidator(_dimensions, json_schema_input_type=int | MeshConfig)] = Field(
        default=MeshConfig(),
        description="How many ranks share what; a number alone is that of shard.",
        examples=[8, {"replicate": 2, "shard": 8}, {"shard": 8, "tensor": 8}],
    )
    ranks: Annotated[Ranks, BeforeValidator(_one_rank, json_schema_input_type=Ranks | int)] = Field(
        default="auto",
        description="The ranks that run, one after the other: a list, or auto. With a pipeline, auto is the first, "
        "second, middle and last stage; with ddp.zero, the first 8 ranks; otherwise rank 0, whose part is the largest.",
        examples=["auto", [0, 3]],
    )
    fsdp: FsdpConfig = Field(default=FsdpConfig(), description="The options of FSDP2, if shard is above 1.")
    ddp: DdpConfig = Field(default=DdpConfig(), description="The options of DDP, if only replicate is above 1.")
    tensor: TensorParallelConfig = Field(
        default=TensorParallelConfig(), description="The options of tensor parallelism, if tensor is above 1."
    )
    pipeline: PipelineConfig = Field(
        default=PipelineConfig(), description="The options of pipeline parallelism, if pipeline is above 1."
    )
    nccl: NcclConfig = Field(default=NcclConfig(), description="What NCCL itself takes of the GPU's memory.")

    @property
    def splits_sequence(self) -> bool:
        """Whether each rank has a part of the sequence between attention and feed-forward."""
        return self.mesh.tensor > 1 and self.tensor.plan == "auto" and self.tensor.sequence_parallel

    @property
    def is_ddp(self) -> bool:
        """Whether DDP keeps copies of the whole model."""
        return self.mesh.replicate > 1 and not self.is_fsdp

    @property
    def has_equal_ranks(self) -> bool:
        """Whether all ranks have the same values, if they have the same batch: DDP, with an optimizer on each."""
        return self.is_ddp and not self.ddp.zero

    @property
    def is_fsdp(self) -> bool:
        """Whether FSDP2 shards the model; with several copies that is HSDP."""
        return self.mesh.shard * self.mesh.expert * self.mesh.context > 1

    @property
    def chosen_ranks(self) -> tuple[int, ...]:
        """The ranks that run."""
        if self.ranks != "auto":
            return self.ranks
        if self.ddp.zero:
            return tuple(range(min(self.mesh.world_size, _ZERO_RANKS)))
        stages = self.mesh.pipeline
        return tuple(
            stage * self.mesh.world_size // stages for stage in sorted({0, min(1, stages - 1), stages // 2, stages - 1})
        )

    @property
    def rank(self) -> int:
        """The rank that runs in one process: the first of those chosen."""
        return self.chosen_ranks[0]

    @property
    def offloads(self) -> bool:
        """Whether parameters, gradients and optimizer state are in host memory."""
        return self.is_fsdp and self.fsdp.offload

    @property
    def label(self) -> str:
        """The ranks that run and the mesh, as in ``rank 0 of 64: shard 8 × tensor 8``."""
        return f"{rank_names(self.chosen_ranks)} of {self.mesh.world_size:,}: {self.mesh.label}"

    @model_validator(mode="after")
    def _ranks_fit(self) -> Self:
        world = self.mesh.world_size
        if world > MAX_WORLD_SIZE:
            raise ValueError(f"mesh has {world:,} ranks; the maximum is {MAX_WORLD_SIZE:,}")
        last, twice = max(self.chosen_ranks), len(self.chosen_ranks) - len(set(self.chosen_ranks))
        if last >= world:
            raise ValueError(f"ranks: {last:,} is not one of the {world:,} ranks of the mesh, 0 to {world - 1:,}")
        if twice:
            raise ValueError("ranks: a rank is listed twice")
        if self.is_ddp and self.mesh.tensor > 1:
            raise ValueError("mesh: replicate and tensor need shard above 1 too: DDP does not take sharded parameters")
        others = [name for name in ("pipeline", "context", "tensor") if self.mesh.sizes[name] > 1]
        if self.mesh.expert > 1 and others:
            raise ValueError(f"mesh: expert and {others[0]} cannot be combined yet; set one of the two to 1")
        if self.mesh.pipeline > 1 and self.mesh.context > 1:
            raise ValueError("mesh: pipeline and context cannot be combined yet; set one of the two to 1")
        if self.mesh.pipeline > 1 and self.is_ddp:
            raise ValueError("mesh: pipeline and replicate need shard above 1 too")
        if self.fsdp.offload and not self.is_fsdp:
            raise ValueError("fsdp.offload is FSDP2's; set mesh.shard above 1")
        if self.fsdp.version == 1 and self.is_fsdp:
            self._fsdp1_is_possible()
        if self.ddp.zero and not self.is_ddp:
            raise ValueError("ddp.zero shares the optimizer state of DDP; set mesh.replicate above 1 and shard to 1")
        return self

    def _fsdp1_is_possible(self) -> None:
        others = [name for name in ("pipeline", "expert", "context", "tensor") if self.mesh.sizes[name] > 1]
        if others:
            raise ValueError(f"fsdp.version: 1 is not supported with {others[0]}; leave it out for FSDP2")
        if self.fsdp.offload:
            raise ValueError("fsdp.version: 1 is not supported with offload; leave it out for FSDP2")


def rank_names(ranks: Sequence[int]) -> str:
    """Return some ranks in words: ``rank 3``, or ``ranks 0, 1 and 3``."""
    *others, last = (f"{rank:,}" for rank in ranks)
    return f"ranks {', '.join(others)} and {last}" if others else f"rank {last}"


def parallel_conflict(settings: Mapping[str, bool]) -> str | None:
    """Return the first setting in use that cannot be combined with several ranks yet, and what would be right."""
    fixes = {
        "compile": "set compile: false",
        "ema": "remove ema",
        "resume": "remove resume",
        "optimizer_in_backward": "set optimizer_in_backward: false",
        "quantization": "remove quantization",
    }
    used = next((name for name in fixes if settings.get(name)), None)
    return f"{used} is not supported with several ranks; {fixes[used]}" if used else None
