"""The names that a config may use and their defaults, without torch, so that a typo is reported before its import."""

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

# The optimizer classes of torch.optim; tests/config/test_names.py compares them with the installed torch.
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
    """The default input, target and loss of a model; shapes are of one sample, without the batch dimension."""

    input: TensorConfig
    target: TensorConfig | None
    loss: LossConfig


def _images(*shape: int, classes: int | None, loss: str = "cross_entropy") -> Defaults:
    target = TensorConfig(shape=(), dtype="int64", range=(0, classes)) if classes is not None else None
    return Defaults(input=TensorConfig(shape=shape), target=target, loss=LossConfig(name=loss))


# MNIST is 1x28x28 and CIFAR-10 is 3x32x32, with ten classes each. The loss of a model without classes is a sum.
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
class UserModel:
    """The user's own model, ``FILE.py:FACTORY``; a relative `file` starts at the config's folder."""

    file: PurePath
    factory: str


def user_model(name: str) -> UserModel | None:
    """Return the parts of ``FILE.py:FACTORY``, or ``None`` if `name` has another form."""
    match = re.fullmatch(r"(?P<file>.+\.py):(?P<factory>[A-Za-z_]\w*)", name)
    return UserModel(file=PurePath(match["file"]), factory=match["factory"]) if match else None


def installed_optimizer(name: str) -> tuple[str, str] | None:
    """Return the module and class of ``package.module:Class``, or ``None`` if `name` has another form."""
    match = re.fullmatch(r"(?P<module>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<kind>[A-Za-z_]\w*)", name)
    return (match["module"], match["kind"]) if match else None


def defaults_of(model: ModelConfig) -> Defaults | None:
    """Return the defaults of `model`, or ``None`` for the user's own model and an unknown name.

    Models of torchvision and timm default to ImageNet classification: 224x224 pixels and 1000 classes, or the values
    of the keyword arguments `image_size`, `img_size` and `num_classes`.
    """
    if not model.name.startswith((TORCHVISION, TIMM)):
        return BUILT_IN.get(model.name)
    size = _count(model.kwargs.get("image_size", model.kwargs.get("img_size")), 224)
    return _images(3, size, size, classes=_count(model.kwargs.get("num_classes"), 1000))


def _count(value: Any, default: int) -> int:
    # If a keyword argument is not a count, the model's factory reports it.
    return value if type(value) is int and value > 0 else default
