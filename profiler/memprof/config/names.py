"""The names that a config may use and what they imply, without torch: a typo need not wait for its import."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from types import MappingProxyType
from typing import Any

from memprof.config.schema import LossConfig, ModelConfig, TensorConfig

TORCHVISION = "torchvision:"
TIMM = "timm:"
TRANSFORMERS = "transformers:"

# The optimizer classes of torch.optim; tests/workload/test_names.py holds them against the installed torch.
OPTIMIZERS = (
    "ASGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "LBFGS",
    "Muon",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SGD",
    "SparseAdam",
)


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What a config may leave out for a model; shapes are of one sample, without the batch dimension."""

    input: TensorConfig
    target: TensorConfig | None
    loss: LossConfig


def _images(*shape: int, classes: int | None, loss: str = "cross_entropy") -> Defaults:
    target = TensorConfig(shape=(), dtype="int64", range=(0, classes)) if classes is not None else None
    return Defaults(input=TensorConfig(shape=shape), target=target, loss=LossConfig(name=loss))


# MNIST is 1x28x28 and CIFAR-10 3x32x32, with ten classes each. A model that does not classify is summed.
BUILT_IN: Mapping[str, Defaults] = MappingProxyType(
    {
        "mnist_mlp": _images(1, 28, 28, classes=10),
        "cifar_mlp": _images(3, 32, 32, classes=10),
        "mnist_cnn": _images(1, 28, 28, classes=10, loss="nll_loss"),
        "cifar_conv": _images(3, 32, 32, classes=None, loss="sum"),
        "pool_net": _images(3, 32, 32, classes=None, loss="sum"),
        "conv_relu": _images(1, 28, 28, classes=None, loss="sum"),
    }
)


@dataclass(frozen=True, kw_only=True)
class OwnModel:
    """A model of the user's own, ``FILE.py:FACTORY``; a relative `file` starts at the config's folder."""

    file: PurePath
    factory: str


def own_model(name: str) -> OwnModel | None:
    """Return the parts of ``FILE.py:FACTORY``, or ``None`` where `name` is not of that form."""
    match = re.fullmatch(r"(?P<file>.+\.py):(?P<factory>[A-Za-z_]\w*)", name)
    return OwnModel(file=PurePath(match["file"]), factory=match["factory"]) if match else None


def installed_optimizer(name: str) -> tuple[str, str] | None:
    """Return module and class of ``package.module:Class``, or ``None`` where `name` is not of that form."""
    match = re.fullmatch(r"(?P<module>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<kind>[A-Za-z_]\w*)", name)
    return (match["module"], match["kind"]) if match else None


def defaults_of(model: ModelConfig) -> Defaults | None:
    """Return what `model`'s name implies, or ``None`` for a model of the user's own and an unknown name.

    For torchvision's and timm's these are the models for ImageNet classification: 224x224 pixels and 1000 classes,
    or what the keyword arguments `image_size`, `img_size` and `num_classes` say.
    """
    if not model.name.startswith((TORCHVISION, TIMM)):
        return BUILT_IN.get(model.name)
    size = _count(model.kwargs.get("image_size", model.kwargs.get("img_size")), 224)
    return _images(3, size, size, classes=_count(model.kwargs.get("num_classes"), 1000))


def _count(value: Any, default: int) -> int:
    # A keyword argument that is no count is the factory's to refuse, in its own words.
    return value if type(value) is int and value > 0 else default
