"""The validated form of a config file; `config.load` reads the file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import (
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from memprof.config.choices import Attention, BatchMode, Mode, Precision, Values
from memprof.config.finetuning import AdapterMethod, Ema, FreezePatterns, QuantizationConfig, Scheduler
from memprof.config.lengths import Lengths, split_sizes
from memprof.config.loop import DataConfig, EvaluationConfig, Resume, ResumeConfig
from memprof.config.parallel import ParallelConfig, parallel_conflict
from memprof.config.routing import RoutingKey
from memprof.config.sections import (
    LARGEST_INT64,
    LOSSES_WITHOUT_TARGET,
    MAX_ALLOCATOR_LENGTH,
    MAX_NAME_LENGTH,
    MAX_TIMEOUT_SECONDS,
    NAME_PATTERN,
    SHORT_OPTIMIZERS,
    BatchRange,
    Count,
    CudnnConfig,
    Kwargs,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    Real,
    Section,
    named,
)
from memprof.config.short_forms import BatchSizesKey, InputsKey, LossKey, ModelKey, OptimizersKey
from memprof.config.tensors import Part, SizeName, TensorConfig, tensors_in
from memprof.errors import did_you_mean

__all__ = [
    "LOSSES_WITHOUT_TARGET",
    "SHORT_OPTIMIZERS",
    "Attention",
    "BatchMode",
    "BatchRange",
    "CudnnConfig",
    "DataConfig",
    "EvaluationConfig",
    "Kwargs",
    "LossConfig",
    "Mode",
    "ModelConfig",
    "OptimizerConfig",
    "ParallelConfig",
    "Precision",
    "ResumeConfig",
    "SweepConfig",
    "TensorConfig",
    "Values",
    "named",
]


def _misfit(key: tuple[str | int, ...], problem: str) -> PydanticCustomError:
    """Return an error that names one key; pydantic names none if a check involves several."""
    return PydanticCustomError("misfit", "{problem}", {"problem": problem, "key": key})


# Of what a file may have; validation leaves numbers.
_SIZES_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": {
        "anyOf": [
            {"type": "integer", "minimum": 1},
            {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1},
            {"type": "object"},
        ]
    },
}


class SweepConfig(Section):
    """One model, the optimizers and batch sizes to run it with, and the settings of each step."""

    name: str = Field(
        pattern=NAME_PATTERN,
        max_length=MAX_NAME_LENGTH,
        description="The folder of the results; by default the config file's name without .yaml.",
    )
    model: ModelKey = Field(description="The model: a name, or a name with kwargs.")
    sizes: Annotated[
        dict[SizeName, Count],
        WithJsonSchema(_SIZES_SCHEMA, mode="validation"),
    ] = Field(
        default={},
        description="Numbers with a name, which shapes and ranges may use: --set sizes.seq_len=2048 then changes all "
        "of them. A list of numbers, or a mapping as in lengths, is a size that differs from batch to batch.",
        examples=[{"seq_len": 512, "vocab_size": 50257}, {"seq_len": [128, 512, 2048]}],
    )
    lengths: dict[SizeName, Lengths] = Field(
        default={},
        description="The distribution of each size that differs from batch to batch; sizes then has its largest value. "
        "The steps run with the largest, and batches of random lengths follow.",
        examples=[{"seq_len": {"lognormal": {"median": 300, "sigma": 0.7, "max": 2048}, "per": "sample"}}],
    )
    random_batches: Count = Field(
        default=20, le=10_000, description="Batches of random lengths, if sizes differ from batch to batch."
    )
    input: InputsKey = Field(
        description="The model's input: one tensor, a list of positional inputs, or a mapping of keyword inputs; "
        "optional for models whose input memprof knows.",
    )
    target: Part | None = Field(
        default=None, description="What the loss compares the output with; optional if input is."
    )
    loss: LossKey = Field(
        default=LossConfig(name="cross_entropy"), description="The loss: a name, or a name with kwargs."
    )
    optimizers: OptimizersKey = Field(
        default=(OptimizerConfig(name="sgd"), OptimizerConfig(name="adam")),
        description="The optimizers, each with every batch size; unused in inference.",
    )
    batch_sizes: BatchSizesKey = Field(
        default=BatchRange(start=16, stop=1024),
        description="The batch sizes: a list, or start, stop and factor.",
    )
    batch: BatchMode = Field(
        default=BatchMode.NEW,
        description="How a step gets its batch. new: it is loaded while the previous batch still exists, as in "
        "images = batch[0].to(device). replaced: the previous batch is freed first, as in for data, target in loader: "
        "data = data.to(device). resident: one batch stays on the device.",
    )
    data: DataConfig | None = Field(
        default=None,
        description="Train on a real dataset through a DataLoader; by default, batches are made up.",
        examples=[{"dataset": "torchvision:MNIST", "root": "./data", "transform": "mnist"}],
    )
    evaluation: EvaluationConfig | None = Field(
        default=None,
        description="Evaluate once after the steps, as between two epochs, and then train two more steps; {} evaluates "
        "batches of the training size.",
        examples=[{"batch_size": 1000}],
    )
    resume: Resume = Field(
        default=None,
        description="Continue from a checkpoint of model and optimizer: true saves one first and loads it, a file name "
        "loads that file. Its loading is a phase before the first step.",
        examples=[True, "checkpoint.pt", {"map_location": "cuda"}],
    )
    precision: Precision = Field(
        default=Precision.FP32, description="The dtype of the weights, or amp-* for autocast with float32 weights."
    )
    mode: Mode = Field(default=Mode.TRAIN, description="train, or inference (eval() under no_grad()).")
    steps: Annotated[int, Field(strict=True)] = Field(
        default=5,
        ge=3,
        le=10_000,
        description="Steps per point. Before the first there is no optimizer state; after a few, each step reuses the "
        "blocks of the one before.",
    )
    seed: Annotated[int, Field(strict=True)] = Field(
        default=0, ge=0, le=LARGEST_INT64, description="The seed of the weights and the batches."
    )
    gpu: str = Field(
        default="auto",
        min_length=1,
        max_length=MAX_NAME_LENGTH,
        description="auto (a real GPU, else a phantom H100), cuda:N, or a name that memprof gpus lists.",
        examples=["auto", "cuda:0", "a100-40gb"],
    )
    allocator: str | None = Field(
        default=None,
        max_length=MAX_ALLOCATOR_LENGTH,
        description="PYTORCH_CUDA_ALLOC_CONF: the settings of the caching allocator.",
        examples=["expandable_segments:True"],
    )
    cudnn: CudnnConfig = Field(default=CudnnConfig(), description="The settings of torch.backends.cudnn.")
    tf32: bool | None = Field(
        default=None,
        description="Allow TF32 in matrix products and convolutions; by default only in convolutions, as in PyTorch.",
    )
    attention: Attention | None = Field(
        default=None,
        description="The attention implementation of a transformers model; by default the library's own choice.",
    )
    channels_last: bool = Field(default=False, description="Keep 4-D weights and inputs channels-last.")
    gradient_accumulation: Count = Field(
        default=1,
        description="Forward and backward passes per step, each of batch_size samples, before one optimizer step; "
        "the analytic sum of activations is that of one pass.",
    )
    activation_checkpointing: Count | None = Field(
        default=None,
        description="Recompute every n-th block of the model (1: each) in backward instead of keeping its activations "
        "(torch.utils.checkpoint). Blocks are the modules in the model's Sequential, ModuleList and ModuleDict parts.",
        examples=[1, 2],
    )
    gradient_checkpointing: bool = Field(
        default=False,
        description="Call the model's own method for it: gradient_checkpointing_enable() of transformers and peft, "
        "enable_gradient_checkpointing() of diffusers, set_grad_checkpointing() of timm.",
    )
    adapter: AdapterMethod | None = Field(
        default=None,
        description="One method of peft with the keyword arguments of its configuration class: only the adapter is "
        "trained. peft's argument autocast_adapter_dtype may stand among them.",
        examples=[{"lora": {"r": 16, "target_modules": ["q_proj", "v_proj"]}}],
    )
    freeze: FreezePatterns = Field(
        default=(),
        description="Patterns over the names of the parameters; those that match are not trained. After ! they are "
        "trained again; the last pattern that matches a parameter decides.",
        examples=[["features.*"], ["*", "!fc.*"]],
    )
    quantization: QuantizationConfig | None = Field(
        default=None,
        description="Keep the weights of linear layers in 4 or 8 bits, frozen, with the layers of bitsandbytes.",
        examples=[{"bits": 4, "double_quant": True}],
    )
    set_to_none: bool = Field(
        default=True,
        description="zero_grad(set_to_none=...): false keeps the gradients through forward, as zeros. Does not change "
        "the analytic sum.",
    )
    optimizer_in_backward: bool = Field(
        default=False,
        description="Step each parameter's own optimizer as soon as its gradient is computed, and free that gradient "
        "(register_post_accumulate_grad_hook); the analytic sum then has only the largest gradient.",
    )
    clip_grad_norm: Real | None = Field(
        default=None,
        gt=0,
        description="torch.nn.utils.clip_grad_norm_ with this maximum before each optimizer step.",
        examples=[1.0],
    )
    scheduler: Scheduler | None = Field(
        default=None,
        description="A class of torch.optim.lr_scheduler, which steps after each optimizer step: a name, or a name "
        "with kwargs.",
        examples=["cosineannealinglr", {"name": "CosineAnnealingLR", "kwargs": {"T_max": 100}}],
    )
    ema: Ema | None = Field(
        default=None,
        description="Keep a moving average of the weights: its decay, or decay and use_buffers. The estimate counts "
        "this copy of the model in its parameters and buffers.",
        examples=[0.999],
    )
    compile: bool = Field(
        default=False,
        description="torch.compile the model before the first step; compilation does not count. The analytic estimate "
        "stays that of the model as written.",
    )
    parallel: ParallelConfig | None = Field(
        default=None,
        description="Train on several GPUs, and run one rank of them on a simulated GPU; batch_sizes is the local "
        "batch, that of one rank. There is no analytic estimate.",
        examples=[{"mesh": {"shard": 8}}, {"mesh": {"shard": 8, "tensor": 8}, "fsdp": {"param_dtype": "bfloat16"}}],
    )
    values: Values = Field(
        default=Values.ZEROS,
        description="On a simulated GPU: zeros, or cpu. With cpu, the CPU computes the values that sizes and "
        "conditions depend on, which takes time and host memory. A real GPU computes all values itself.",
    )
    routing: RoutingKey = None
    timeout_seconds: Real = Field(
        default=300.0, gt=0, le=MAX_TIMEOUT_SECONDS, description="A point that takes longer ends as a timeout."
    )

    @field_validator("optimizers", "batch_sizes")
    @classmethod
    def _items_differ(cls, items: Any, info: ValidationInfo) -> Any:
        seen = set()
        for index, item in enumerate(() if isinstance(items, BatchRange) else items):
            name = getattr(item, "label", item)
            if name in seen:
                raise _misfit((str(info.field_name), index), f"{name} is listed twice")
            seen.add(name)
        return items

    @field_validator("allocator")
    @classmethod
    def _is_one_line(cls, settings: str | None) -> str | None:
        if settings is not None and not settings.isprintable():
            raise ValueError("may have printable characters only")
        return settings

    @model_validator(mode="before")
    @classmethod
    def _split_sizes(cls, data: Any) -> Any:
        return split_sizes(data)

    @model_validator(mode="after")
    def _sizes_are_known(self) -> Self:
        for path, tensor in self.tensors():
            for name in tensor.names():
                if name not in self.sizes:
                    hint = did_you_mean(name, self.sizes) or f"; add sizes: {{{name}: 512}}"
                    raise _misfit((*path, "shape"), f"there is no size {name!r}{hint}")
            try:
                tensor.resolved(self.sizes)
            except ValueError as error:
                raise _misfit(path, str(error).split("Value error, ")[-1].split(" [type=")[0]) from None
        return self

    @model_validator(mode="after")
    def _training_has_an_optimizer(self) -> Self:
        if self.mode is Mode.TRAIN and not self.optimizers:
            raise _misfit(("optimizers",), "empty; mode train needs at least one, for example [sgd]")
        return self

    @model_validator(mode="after")
    def _optimizer_in_backward_is_possible(self) -> Self:
        conflicts = {
            f"gradient_accumulation: {self.gradient_accumulation} needs the gradients of all its passes; "
            "set it to 1": self.gradient_accumulation > 1,
            "precision: amp-fp16 has a GradScaler, which needs all gradients before a step; "
            "write amp-bf16": self.precision is Precision.AMP_FP16,
            f"clip_grad_norm: {self.clip_grad_norm} needs all gradients before a step; leave it "
            "out": self.clip_grad_norm is not None,
            "set_to_none: false keeps the gradients, and this frees them; set it to true": not self.set_to_none,
        }
        reason = next((text for text, applies in conflicts.items() if applies), None)
        if self.optimizer_in_backward and reason is not None:
            raise _misfit(("optimizer_in_backward",), f"{reason}, or set optimizer_in_backward to false")
        return self

    @model_validator(mode="after")
    def _one_kind_of_checkpointing(self) -> Self:
        if self.gradient_checkpointing and self.activation_checkpointing is not None:
            raise _misfit(
                ("gradient_checkpointing",),
                f"activation_checkpointing: {self.activation_checkpointing} recomputes blocks too; set one of the two",
            )
        return self

    @model_validator(mode="after")
    def _data_is_loaded_in_each_step(self) -> Self:
        if self.data is not None and self.batch is BatchMode.RESIDENT:
            raise _misfit(
                ("batch",), "resident keeps one batch, and data loads one in each step; write new or replaced"
            )
        if self.data is not None and self.data.prefetch_factor and not self.data.workers:
            raise _misfit(("data", "prefetch_factor"), "only workers prefetch; set workers: 2 too")
        return self

    @model_validator(mode="after")
    def _evaluation_follows_training(self) -> Self:
        if self.evaluation is not None and self.mode is Mode.INFERENCE:
            raise _misfit(
                ("evaluation",), "mode inference is an evaluation already; remove evaluation, or set mode to train"
            )
        return self

    @model_validator(mode="after")
    def _parallel_is_possible(self) -> Self:
        names = ("compile", "ema", "resume", "optimizer_in_backward", "quantization")
        problem = parallel_conflict({name: bool(getattr(self, name)) for name in names})
        if self.parallel is not None and problem is not None:
            raise _misfit(("parallel",), problem)
        if self.parallel is not None and self.parallel.mesh.pipeline > 1:
            self._pipeline_is_possible()
        if self.parallel is not None and self.parallel.mesh.context > 1:
            for name, used in {
                "mode: inference": self.mode is Mode.INFERENCE,
                "evaluation": bool(self.evaluation),
            }.items():
                if used:
                    raise _misfit(("parallel", "mesh", "context"), f"{name} is not supported with context above 1")
        return self

    @model_validator(mode="after")
    def _values_are_possible(self) -> Self:
        conflicts = {
            "compile is not supported with values: cpu; set compile: false": self.compile,
            "parallel with other dimensions than replicate, or with ddp.zero, is not supported with values: cpu; "
            "remove parallel": self.parallel is not None and not self.parallel.has_equal_ranks,
        }
        reason = next((text for text, applies in conflicts.items() if applies), None)
        if self.values is Values.CPU and reason is not None:
            raise _misfit(("values",), f"{reason}, or set values: zeros")
        if self.routing is not None and self.compile:
            raise _misfit(
                ("routing",), "compile is not supported with routing; set compile: false, or leave routing out"
            )
        if self.routing is None and self.parallel is not None and self.parallel.mesh.expert > 1:
            raise _misfit(("parallel", "mesh", "expert"), "needs routing; write routing: balanced, or {worst: 2}")
        return self

    def _pipeline_is_possible(self) -> None:
        conflicts = {
            "mode": (self.mode is Mode.INFERENCE, "write train"),
            "evaluation": (self.evaluation is not None, "leave it out"),
            "gradient_accumulation": (self.gradient_accumulation > 1, "write more microbatches"),
            "precision": (self.precision.value.startswith("amp"), "write bf16, or fsdp.param_dtype with shard"),
        }
        used = next((f"{name} is not supported; {fix}" for name, (on, fix) in conflicts.items() if on), None)
        if used is not None:
            raise _misfit(("parallel", "mesh", "pipeline"), f"with a pipeline, {used}")

    @property
    def can_evaluate(self) -> bool:
        """Whether an evaluation pass can follow the steps: not in inference, a stage of a pipeline, or with context."""
        mesh = self.parallel.mesh if self.parallel else None
        return self.mode is Mode.TRAIN and (mesh is None or mesh.pipeline == mesh.context == 1)

    def tensors(self) -> Iterator[tuple[tuple[str | int, ...], TensorConfig]]:
        """Yield each tensor of the input and the target with the path of its key."""
        for key, part in (("input", self.input), ("target", self.target)):
            if part is not None:
                yield from (((key, *path), tensor) for path, tensor in tensors_in(part))

    def list_batch_sizes(self) -> tuple[int, ...]:
        """The batch sizes of the sweep, in the configured order."""
        return self.batch_sizes.sizes() if isinstance(self.batch_sizes, BatchRange) else self.batch_sizes

    def points(self) -> tuple[tuple[OptimizerConfig | None, int], ...]:
        """The points of the sweep: the optimizers as listed (none in inference), each with rising batch sizes."""
        optimizers = self.optimizers if self.mode is Mode.TRAIN else (None,)
        return tuple((optimizer, size) for optimizer in optimizers for size in sorted(self.list_batch_sizes()))
