"""What a sweep is: the validated form of a config file. Reading the file is `config_file`'s job."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from memprof.config.sections import (
    LARGEST_INT64,
    LOSSES_WITHOUT_TARGET,
    MOST_BATCH_SIZES,
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
    TensorConfig,
    named,
)

__all__ = [
    "LOSSES_WITHOUT_TARGET",
    "SHORT_OPTIMIZERS",
    "BatchRange",
    "CudnnConfig",
    "Kwargs",
    "LossConfig",
    "Mode",
    "ModelConfig",
    "OptimizerConfig",
    "Precision",
    "SweepConfig",
    "TensorConfig",
    "named",
]


class Precision(StrEnum):
    """The dtype of the weights, or autocast over float32 weights (with a GradScaler for fp16)."""

    FP32 = "fp32"
    FP64 = "fp64"
    BF16 = "bf16"
    FP16 = "fp16"
    AMP_BF16 = "amp-bf16"
    AMP_FP16 = "amp-fp16"


class Mode(StrEnum):
    """Train (forward, backward, step) or inference (`eval()` under `no_grad()`)."""

    TRAIN = "train"
    INFERENCE = "inference"


def _misfit(key: tuple[str | int, ...], problem: str) -> PydanticCustomError:
    """An error that a check over several keys lays on one of them: pydantic itself would name none."""
    return PydanticCustomError("misfit", "{problem}", {"problem": problem, "key": key})


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, dict | str | BaseModel) else value


def _sizes(value: Any) -> Any:
    return [value] if isinstance(value, int) else value


def _list_of_named(value: Any) -> Any:
    value = _listed(value)
    return [named(item) for item in value] if isinstance(value, list | tuple) else value


def _list_or_range(value: Any) -> str:
    return "range" if isinstance(value, dict | BatchRange) else "list"


# The short forms that a file may use, each with the schema of what it accepts.
_Model = Annotated[ModelConfig, BeforeValidator(named, json_schema_input_type=str | ModelConfig)]
_Loss = Annotated[LossConfig, BeforeValidator(named, json_schema_input_type=str | LossConfig)]
_Inputs = Annotated[
    tuple[TensorConfig, ...],
    Field(min_length=1),
    BeforeValidator(_listed, json_schema_input_type=TensorConfig | tuple[TensorConfig, ...]),
]
_Optimizers = Annotated[
    tuple[OptimizerConfig, ...],
    BeforeValidator(_list_of_named, json_schema_input_type=str | OptimizerConfig | tuple[str | OptimizerConfig, ...]),
]
_BatchSizes = Annotated[
    Annotated[tuple[Count, ...], Field(min_length=1, max_length=MOST_BATCH_SIZES), Tag("list")]
    | Annotated[BatchRange, Tag("range")],
    Discriminator(_list_or_range),
    BeforeValidator(_sizes, json_schema_input_type=Count | tuple[Count, ...] | BatchRange),
]


class SweepConfig(Section):
    """One model, the optimizers and batch sizes to try it with, and how each step is run."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="The folder of the results; the config file's name without .yaml if left out.",
    )
    model: _Model = Field(description="What is measured: a name alone, or a name with kwargs.")
    input: _Inputs = Field(
        description="The model's input or inputs; may be left out for built-in and torchvision models."
    )
    target: TensorConfig | None = Field(
        default=None, description="What the loss compares the output with; may be left out as input may be."
    )
    loss: _Loss = Field(
        default=LossConfig(name="cross_entropy"), description="The loss: a name alone, or a name with kwargs."
    )
    optimizers: _Optimizers = Field(
        default=(OptimizerConfig(name="sgd"), OptimizerConfig(name="adam")),
        description="The optimizers to try, each with every batch size; not used in inference.",
    )
    batch_sizes: _BatchSizes = Field(
        default=BatchRange(start=16, stop=1024),
        description="The batch sizes to try: a list, or start, stop and factor.",
    )
    precision: Precision = Field(
        default=Precision.FP32, description="The dtype of the weights, or amp-* for autocast over float32."
    )
    mode: Mode = Field(default=Mode.TRAIN, description="train, or inference (eval() under no_grad()).")
    steps: Annotated[int, Field(strict=True)] = Field(
        default=3, ge=3, le=10_000, description="Steps a point; the first has no optimizer state yet."
    )
    seed: Annotated[int, Field(strict=True)] = Field(
        default=0, ge=0, le=LARGEST_INT64, description="The seed of the weights and the batches."
    )
    gpu: str = Field(
        default="auto",
        min_length=1,
        description="auto (a real GPU, else a phantom H100), cuda:N, or a name that memprof gpus lists.",
        examples=["auto", "cuda:0", "a100-40gb"],
    )
    allocator: str | None = Field(
        default=None,
        description="PYTORCH_CUDA_ALLOC_CONF, the settings of the caching allocator.",
        examples=["expandable_segments:True"],
    )
    cudnn: CudnnConfig = Field(default=CudnnConfig(), description="The switches of torch.backends.cudnn.")
    tf32: bool | None = Field(
        default=None,
        description="Allow TF32 in matrix products and convolutions; by default in convolutions alone, as in PyTorch.",
    )
    channels_last: bool = Field(default=False, description="Keep 4-D weights and inputs channels-last.")
    gradient_accumulation: Count = Field(
        default=1,
        description="Forward and backward passes a step, each of batch_size samples, before one optimizer step; "
        "the analytic sum is that of one pass.",
    )
    activation_checkpointing: Count | None = Field(
        default=None,
        description="Run every n-th block of the model (1: each) again in backward rather than keep its activations "
        "(torch.utils.checkpoint). Blocks are the modules in the model's Sequential, ModuleList and ModuleDict parts.",
        examples=[1, 2],
    )
    set_to_none: bool = Field(
        default=True,
        description="zero_grad(set_to_none=...): false keeps the gradients through forward, as zeros. Does not change "
        "the analytic sum.",
    )
    optimizer_in_backward: bool = Field(
        default=False,
        description="Step each parameter's own optimizer as soon as its gradient is there, and free that gradient "
        "(register_post_accumulate_grad_hook); the analytic sum then has the largest gradient alone.",
    )
    compile: bool = Field(
        default=False,
        description="torch.compile the model, before the first step: what that takes does not count. The analytic sum "
        "stays that of the model as it is written.",
    )
    timeout_seconds: Real = Field(default=300.0, gt=0, description="A point that takes longer is a timeout.")

    @field_validator("optimizers", "batch_sizes")
    @classmethod
    def _items_differ(cls, items: Any, info: ValidationInfo) -> Any:
        names = [] if isinstance(items, BatchRange) else [getattr(item, "label", item) for item in items]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise _misfit((str(info.field_name), index), f"{name} is listed twice")
        return items

    @model_validator(mode="after")
    def _training_has_an_optimizer(self) -> Self:
        if self.mode is Mode.TRAIN and not self.optimizers:
            raise _misfit(("optimizers",), "empty; mode train needs at least one, for example [sgd]")
        return self

    @model_validator(mode="after")
    def _optimizer_in_backward_is_possible(self) -> Self:
        hindrances = {
            f"gradient_accumulation: {self.gradient_accumulation} needs the gradients of all its passes; "
            "set it to 1": self.gradient_accumulation > 1,
            "precision: amp-fp16 has a GradScaler, which needs all gradients before a step; "
            "write amp-bf16": self.precision is Precision.AMP_FP16,
            "set_to_none: false keeps the gradients, and this frees them; set it to true": not self.set_to_none,
        }
        reason = next((text for text, hinders in hindrances.items() if hinders), None)
        if self.optimizer_in_backward and reason is not None:
            raise _misfit(("optimizer_in_backward",), f"{reason}, or set optimizer_in_backward to false")
        return self

    def sizes(self) -> tuple[int, ...]:
        """The batch sizes of the sweep, in the order in which they are tried."""
        return self.batch_sizes.sizes() if isinstance(self.batch_sizes, BatchRange) else self.batch_sizes

    def points(self) -> tuple[tuple[OptimizerConfig | None, int], ...]:
        """The points of the sweep: optimizers as listed (none in inference), each with rising batch sizes."""
        optimizers = self.optimizers if self.mode is Mode.TRAIN else (None,)
        return tuple((optimizer, size) for optimizer in optimizers for size in sorted(self.sizes()))
