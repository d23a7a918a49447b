"""The sections of a config about the training loop around its steps: data, evaluation, resumed runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from memprof.config.sections import Count, Kwargs, Section


class EvaluationConfig(Section):
    """The evaluation between two epochs, in eval mode and without autograd."""

    batch_size: Count | None = Field(
        default=None, description="Samples in one batch of the evaluation; by default as many as in training."
    )


_LONGEST_NAME = 40
# Mean and deviation of each channel, of pixels between 0 and 1. MNIST's are those of PyTorch's MNIST example,
# ImageNet's those of torchvision's presets.
NORMALIZATIONS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = MappingProxyType(
    {
        "mnist": ((0.1307,), (0.3081,)),
        "cifar10": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    }
)


class DataConfig(Section):
    """A real dataset and the DataLoader that reads it."""

    dataset: str = Field(
        min_length=1,
        description="torchvision:NAME, or FILE.py:FACTORY that returns a dataset whose items are (input, target) or a "
        "mapping of keyword inputs.",
        examples=["torchvision:MNIST", "torchvision:ImageFolder", "torchvision:FakeData", "own_data.py:build"],
    )
    root: str = Field(default="./data", min_length=1, description="The folder of the dataset, relative to the config.")
    download: bool = Field(default=False, description="Let torchvision download the dataset if it is missing.")
    kwargs: Kwargs = Field(default={}, description="More keyword arguments of the dataset.", examples=[{"train": True}])
    transform: Literal["mnist", "cifar10", "imagenet"] | None = Field(
        default=None,
        description="How pixels are normalized; imagenet also resizes and crops images to the size of the input.",
    )
    pixels: Literal["float32", "uint8"] = Field(
        default="float32",
        description="What is moved to the GPU. float32: the host converts and normalizes. uint8: the GPU does, from a "
        "quarter of the bytes, which it then holds next to the converted batch for a moment.",
    )
    workers: int = Field(default=0, ge=0, le=128, description="DataLoader(num_workers=...).")
    pin_memory: bool = Field(default=False, description="DataLoader(pin_memory=...).")
    prefetch_factor: int | None = Field(
        default=None, ge=1, le=1024, description="DataLoader(prefetch_factor=...); needs workers."
    )
    non_blocking: bool = Field(default=False, description="Tensor.to(..., non_blocking=...).")
    drop_last: bool = Field(
        default=False, description="DataLoader(drop_last=...): leave out the smaller last batch of an epoch."
    )

    @field_validator("dataset")
    @classmethod
    def _has_a_known_form(cls, name: str) -> str:
        if not re.fullmatch(r"torchvision:\w+|.+\.py:[A-Za-z_]\w*", name):
            near = f"torchvision:{name}" if name.isidentifier() and len(name) < _LONGEST_NAME else "torchvision:MNIST"
            raise ValueError(f"{name!r} is no dataset; write for example {near}, or FILE.py:FACTORY")
        return name


class ResumeConfig(Section):
    """A run that continues from a checkpoint of the model and the optimizer."""

    checkpoint: str | None = Field(
        default=None,
        min_length=1,
        description="The file, relative to the config: a dict with the state of the model (model_state_dict, model or "
        "state_dict) and of the optimizer (optimizer_state_dict or optimizer). By default memprof saves one itself.",
        examples=["checkpoint.pt"],
    )
    map_location: Literal["cpu", "cuda"] = Field(
        default="cpu", description="torch.load(map_location=...): where the tensors of the checkpoint are loaded."
    )

    @field_validator("map_location", mode="before")
    @classmethod
    def _gpu_is_called_cuda(cls, value: Any) -> Any:
        """Explain other names of the GPU: by their letters, `gpu` is nearer to `cpu`."""
        if isinstance(value, str) and value not in ("cpu", "cuda"):
            means_gpu = value.lower().startswith(("cuda", "gpu", "device"))
            raise ValueError(f"{value!r} is not one of cpu, cuda; did you mean {'cuda' if means_gpu else 'cpu'}?")
        return value


def _resume(value: Any) -> Any:
    """Return the long form of ``true``, ``false`` and of a file alone."""
    if isinstance(value, bool):
        return {} if value else None
    return {"checkpoint": value} if isinstance(value, str) else value


Resume = Annotated[
    ResumeConfig | None, BeforeValidator(_resume, json_schema_input_type=bool | str | ResumeConfig | None)
]
