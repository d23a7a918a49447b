"""What a sweep is: the validated form of a config file. Reading the file is `config_file`'s job."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

Kwargs = dict[str, Any]
LOSSES_WITHOUT_TARGET = ("sum", "output")
_LARGEST_INT64 = 2**63 - 1
_MOST_BATCH_SIZES = 1000
SHORT_OPTIMIZERS: Mapping[str, Kwargs] = MappingProxyType(
    {"sgd+momentum": {"momentum": 0.9}, "sgd+nesterov": {"momentum": 0.9, "nesterov": True}}
)

# Strict, so that `true`, `"16"` and `16.0` are refused rather than read as numbers of something.
Count = Annotated[int, Field(strict=True, ge=1, le=2**40)]
Real = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Bound = Annotated[int, Field(strict=True, ge=-_LARGEST_INT64 - 1, le=_LARGEST_INT64)]
Dtype = Literal["float32", "float64", "bfloat16", "float16", "int64", "int32", "uint8", "bool"]


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


def named(value: Any) -> Any:
    """Return the long form of a name that stands alone, and any other value as it is."""
    return {"name": value} if isinstance(value, str) else value


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, dict | str | BaseModel) else value


def _sizes(value: Any) -> Any:
    return [value] if isinstance(value, int) else value


def _list_of_named(value: Any) -> Any:
    value = _listed(value)
    return [named(item) for item in value] if isinstance(value, list | tuple) else value


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")


class ModelConfig(_Section):
    """A built-in name, ``torchvision:NAME``, or ``path/to/file.py:factory`` (relative to the config file)."""

    name: str = Field(
        min_length=1,
        description="A built-in model, torchvision:NAME, or FILE.py:FACTORY with FILE.py beside the config.",
        examples=["mnist_mlp", "torchvision:resnet50", "own_model.py:build"],
    )
    kwargs: Kwargs = Field(default={}, description="Keyword arguments of the model's factory.")


class TensorConfig(_Section):
    """One tensor of the batch, without its batch dimension. `range` bounds integers: high is not included."""

    shape: tuple[Count, ...] = Field(
        description="The shape without the batch dimension; [] is one number a sample.",
        examples=[[3, 224, 224], []],
    )
    dtype: Dtype = Field(default="float32", description="The dtype of the tensor's elements.")
    range: tuple[Bound, Bound] | None = Field(
        default=None,
        description="For integers: [low, high], low included, high not, as in torch.randint.",
        examples=[[0, 1000]],
    )

    @model_validator(mode="after")
    def _range_fits_dtype(self) -> Self:
        if self.range is None:
            return self
        if self.dtype not in ("int64", "int32", "uint8"):
            raise ValueError(f"range is for integer tensors, and dtype is {self.dtype}")
        if self.range[0] >= self.range[1]:
            raise ValueError(f"range {list(self.range)} is empty; write [low, high] with low < high")
        least, most = {"int64": (-(2**63), 2**63), "int32": (-(2**31), 2**31), "uint8": (0, 256)}[self.dtype]
        if self.range[0] < least or self.range[1] > most:
            raise ValueError(f"range {list(self.range)} does not fit into {self.dtype}: [{least}, {most}]")
        return self


class LossConfig(_Section):
    """A function of `torch.nn.functional` or a class of `torch.nn` by name.

    Two names of memprof's own: ``sum`` (of the output) and ``output`` (the model returns its loss).
    """

    name: str = Field(
        min_length=1,
        description="A function of torch.nn.functional, a class of torch.nn, or: sum (of the output), "
        "output (the model returns its loss).",
        examples=["cross_entropy", "MSELoss", "sum", "output"],
    )
    kwargs: Kwargs = Field(default={}, description="Keyword arguments of the loss.")

    @property
    def needs_target(self) -> bool:
        """Whether the loss compares the output with a target."""
        return self.name not in LOSSES_WITHOUT_TARGET


class OptimizerConfig(_Section):
    """A class of `torch.optim` by name (``sgd``, ``adamw``; upper and lower case are the same).

    ``sgd+momentum`` is short for SGD with momentum 0.9, ``sgd+nesterov`` for that with Nesterov's. Validation
    spells both out: `name` is then ``sgd``. `label` is the name in the rows, by default the name as written.
    """

    name: str = Field(
        min_length=1,
        description="A class of torch.optim in upper or lower case, sgd+momentum or sgd+nesterov.",
        examples=["sgd", "sgd+momentum", "adam", "AdamW"],
    )
    kwargs: Kwargs = Field(default={}, description="Keyword arguments of the optimizer.")
    label: str = Field(default="", description="The name in the rows; the optimizer's name if left out.")

    @model_validator(mode="before")
    @classmethod
    def _spell_out(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("name"), str):
            return data
        name, kwargs = data["name"], data.get("kwargs", {})
        spelled = {**data, "label": name if data.get("label") in ("", None) else data["label"]}
        if isinstance(kwargs, dict) and name.lower() in SHORT_OPTIMIZERS:
            spelled |= {"name": "sgd", "kwargs": SHORT_OPTIMIZERS[name.lower()] | kwargs}
        return spelled


class BatchRange(_Section):
    """Batch sizes from `start` up to and including `stop`, each `factor` times the one before."""

    start: Count = Field(description="The first batch size.")
    stop: Count = Field(description="The batch size that none goes beyond.")
    factor: Real = Field(default=2.0, gt=1.0, description="Each batch size is this many times the last.")

    @model_validator(mode="after")
    def _goes_up(self) -> Self:
        if self.stop < self.start:
            raise ValueError(f"stop {self.stop} is below start {self.start}")
        if math.log(self.stop / self.start) / math.log(self.factor) >= _MOST_BATCH_SIZES:
            raise ValueError(f"factor {self.factor} gives more than {_MOST_BATCH_SIZES} batch sizes")
        return self

    def sizes(self) -> tuple[int, ...]:
        """The batch sizes, each once, in rising order."""
        sizes, size = [self.start], float(self.start)
        while (size := size * self.factor) <= self.stop:
            if round(size) > sizes[-1]:
                sizes.append(round(size))
        return tuple(sizes)


class CudnnConfig(_Section):
    """The switches of `torch.backends.cudnn`."""

    benchmark: bool = Field(default=False, description="torch.backends.cudnn.benchmark.")
    deterministic: bool = Field(default=False, description="torch.backends.cudnn.deterministic.")


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
    Annotated[tuple[Count, ...], Field(min_length=1, max_length=_MOST_BATCH_SIZES), Tag("list")]
    | Annotated[BatchRange, Tag("range")],
    Discriminator(_list_or_range),
    BeforeValidator(_sizes, json_schema_input_type=Count | tuple[Count, ...] | BatchRange),
]


class SweepConfig(_Section):
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
        default=0, ge=0, le=_LARGEST_INT64, description="The seed of the weights and the batches."
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
        description="Allow TF32 in matrix products and convolutions; by default in convolutions alone, as PyTorch does.",
    )
    channels_last: bool = Field(default=False, description="Keep 4-D weights and inputs channels-last.")
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

    def sizes(self) -> tuple[int, ...]:
        """The batch sizes of the sweep, in the order in which they are tried."""
        return self.batch_sizes.sizes() if isinstance(self.batch_sizes, BatchRange) else self.batch_sizes

    def points(self) -> tuple[tuple[OptimizerConfig | None, int], ...]:
        """The points of the sweep: each optimizer (none in inference) with each batch size."""
        optimizers = self.optimizers if self.mode is Mode.TRAIN else (None,)
        return tuple((optimizer, size) for optimizer in optimizers for size in self.sizes())
