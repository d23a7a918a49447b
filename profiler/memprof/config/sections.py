"""The sections of a config file: model, tensors, loss, optimizers, batch sizes, cuDNN settings."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Kwargs = dict[str, Any]
LOSSES_WITHOUT_TARGET = ("sum", "output")
LARGEST_INT64 = 2**63 - 1
MAX_BATCH_SIZES = 1000
MAX_OPTIMIZERS = 100
MAX_DIMENSIONS = 64  # of a tensor in most operators: dim_bitset_size in ATen/WrapDimUtilsMulti.h
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
MAX_NAME_LENGTH = 200  # a folder of results has this name, and file systems take 255 bytes
MAX_ALLOCATOR_LENGTH = 4096  # Linux refuses an environment variable of 128 KiB
MAX_TIMEOUT_SECONDS = 1_000_000  # eleven days; poll() takes at most 2**31 milliseconds
SHORT_OPTIMIZERS: Mapping[str, Kwargs] = MappingProxyType(
    {"sgd+momentum": {"momentum": 0.9}, "sgd+nesterov": {"momentum": 0.9, "nesterov": True}}
)

# Strict, so that `true`, `"16"` and `16.0` are errors rather than counts.
Count = Annotated[int, Field(strict=True, ge=1, le=2**40)]
Real = Annotated[float, Field(strict=True, allow_inf_nan=False)]


def named(value: Any) -> Any:
    """Return the long form of a name alone, and any other value unchanged."""
    return {"name": value} if isinstance(value, str) else value


def is_config_name(name: str) -> bool:
    """Return whether a config may have this name; as a folder's name it stays within its parent folder."""
    return len(name) <= MAX_NAME_LENGTH and re.fullmatch(NAME_PATTERN, name) is not None


class Section(BaseModel):
    """A mapping in the file: frozen, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")


class ModelConfig(Section):
    """A built-in name, ``torchvision:NAME``, ``timm:NAME``, ``transformers:CLASS``, or ``path/to/file.py:factory``.

    The path is relative to the config file. For a class of transformers, `kwargs` are those of its configuration.
    """

    name: str = Field(
        min_length=1,
        description="A built-in model, torchvision:NAME, timm:NAME, transformers:CLASS, "
        "or FILE.py:FACTORY with FILE.py relative to the config.",
        examples=[
            "mnist_mlp",
            "torchvision:resnet50",
            "transformers:BertForSequenceClassification",
            "own_model.py:build",
        ],
    )
    kwargs: Kwargs = Field(default={}, description="Keyword arguments of the model's factory.")


class LossConfig(Section):
    """A function of `torch.nn.functional` or a class of `torch.nn` by name.

    memprof adds two names: ``sum`` (of the output) and ``output`` (the model returns its loss).
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


class OptimizerConfig(Section):
    """A class of `torch.optim` by name (``sgd``, ``adamw``; upper and lower case are equal).

    ``package.module:Class`` is a class of another installed package, such as ``bitsandbytes:AdamW8bit``.
    ``sgd+momentum`` is short for SGD with momentum 0.9, and ``sgd+nesterov`` for the same with Nesterov momentum.
    Validation expands both, so that `name` is ``sgd``. `label` is the name in the rows, by default the name as written.
    """

    name: str = Field(
        min_length=1,
        max_length=MAX_NAME_LENGTH,
        description="A class of torch.optim in upper or lower case, sgd+momentum or sgd+nesterov, or "
        "package.module:Class of an installed package.",
        examples=["sgd", "sgd+momentum", "adam", "AdamW", "bitsandbytes:AdamW8bit"],
    )
    kwargs: Kwargs = Field(default={}, description="Keyword arguments of the optimizer.")
    label: str = Field(
        default="", max_length=MAX_NAME_LENGTH, description="The name in the rows; by default the optimizer's name."
    )

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


class BatchRange(Section):
    """Batch sizes from `start` up to and including `stop`, each `factor` times the one before."""

    start: Count = Field(description="The first batch size.")
    stop: Count = Field(description="The batch size that none goes beyond.")
    factor: Real = Field(default=2.0, gt=1.0, description="Each batch size is this many times the last.")

    @model_validator(mode="after")
    def _goes_up(self) -> Self:
        if self.stop < self.start:
            raise ValueError(f"stop {self.stop} is below start {self.start}")
        if math.log(self.stop / self.start) / math.log(self.factor) >= MAX_BATCH_SIZES:
            raise ValueError(f"factor {self.factor} gives more than {MAX_BATCH_SIZES} batch sizes")
        return self

    def sizes(self) -> tuple[int, ...]:
        """The batch sizes, each once, in rising order."""
        sizes, size = [self.start], float(self.start)
        while (size := size * self.factor) <= self.stop:
            if round(size) > sizes[-1]:
                sizes.append(round(size))
        return tuple(sizes)


class CudnnConfig(Section):
    """The settings of `torch.backends.cudnn`."""

    benchmark: bool = Field(default=False, description="torch.backends.cudnn.benchmark.")
    deterministic: bool = Field(default=False, description="torch.backends.cudnn.deterministic.")
