"""The names that a config may use and their defaults, without torch, so that a typo is reported before its import."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any, overload

from memprof.config.schema import LossConfig, ModelConfig, TensorConfig
from memprof.config.timm_inputs import timm_input
from memprof.config.torchvision_inputs import VisionInput, torchvision_input

TORCHVISION = "torchvision:"
TIMM = "timm:"
TRANSFORMERS = "transformers:"
DIFFUSERS = "diffusers:"
LIVE = "live:"  # a module that a Python process sent; no file names it

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

# The classes of torch.optim.lr_scheduler that a name and keyword arguments describe: LambdaLR and MultiplicativeLR need
# a function, SequentialLR and ChainedScheduler other schedulers. tests/config/test_names.py compares them with torch.
SCHEDULERS = (
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "StepLR",
)


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """The default input, target and loss of a model; shapes are of one sample, without the batch dimension."""

    input: TensorConfig
    target: TensorConfig | None
    loss: LossConfig


@dataclass(frozen=True, kw_only=True)
class KeywordDefaults:
    """The default keyword inputs, loss and named sizes of a model of transformers."""

    inputs: Mapping[str, TensorConfig]
    loss: LossConfig
    sizes: Mapping[str, int] = field(default_factory=dict)


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


def defaults_of(
    model: ModelConfig, folder: Path | None = None, *, training: bool = True
) -> Defaults | KeywordDefaults | None:
    """Return the defaults of `model`, or ``None`` for the user's own model and an unknown name.

    Models of torchvision and timm default to what their metadata say, or to the values of the keyword arguments
    `image_size`, `img_size`, `in_chans` and `num_classes`. Models of transformers default to the input of their task,
    with labels in training, so that the loss is the model's own, as the Trainer takes it.
    """
    if model.name.startswith(TRANSFORMERS):
        return transformers_defaults(transformers_class(model, folder), model.kwargs, training=training)
    if not model.name.startswith((TORCHVISION, TIMM)):
        return BUILT_IN.get(model.name)
    found = _vision_input(model)
    return None if found is None else _vision_defaults(found, model.kwargs)


def _vision_input(model: ModelConfig) -> VisionInput | None:
    side = _count(model.kwargs.get("image_size", model.kwargs.get("img_size")), None)
    if model.name.startswith(TORCHVISION):
        return torchvision_input(model.name.removeprefix(TORCHVISION), side)
    found = timm_input(model.name.removeprefix(TIMM)) or torchvision_input("", side)
    if found is None or side is None:
        return found
    return replace(found, shape=(found.shape[0], side, side))


def _vision_defaults(found: VisionInput, kwargs: Mapping[str, Any]) -> Defaults:
    shape = (_count(kwargs.get("in_chans"), found.shape[0]), *found.shape[1:])
    classes = _count(kwargs.get("num_classes"), found.classes)
    if classes is None:  # the model gives features
        return _images(*shape, classes=None, loss="sum")
    target = TensorConfig(shape=shape[1:] if found.per_pixel else (), dtype="int64", range=(0, classes))
    return Defaults(input=TensorConfig(shape=shape), target=target, loss=LossConfig(name="cross_entropy"))


def origin_of(name: str) -> str:
    """Return where the defaults of a model come from, in words."""
    for library in (TORCHVISION, TIMM):
        if name.startswith(library):
            return f"{library.removesuffix(':')}'s metadata"
    return "the model's task" if name.startswith(TRANSFORMERS) else "the model"


# The shape of the labels of one sample, by the task at the end of a class's name. Source: the parameter `labels` in
# the documentation of each class of transformers.
_TEXT_TASKS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "ForCausalLM": ("seq_len",),
        "LMHeadModel": ("seq_len",),
        "ForMaskedLM": ("seq_len",),
        "ForTokenClassification": ("seq_len",),
        "ForSequenceClassification": (),
        "Seq2SeqLM": ("seq_len",),
    }
)
_SEQUENCE_LENGTH = 512


def transformers_defaults(name: str | None, kwargs: Mapping[str, Any], *, training: bool) -> KeywordDefaults | None:
    """Return the input of a class of transformers, or ``None`` if its task is not one that memprof knows.

    Token ids and labels are 0: their values do not change what memory the step takes.
    """
    if name is None:
        return None
    own_loss = LossConfig(name="output" if training else "sum")
    if name.endswith("ForImageClassification"):
        size, channels = _count(kwargs.get("image_size"), 224), _count(kwargs.get("num_channels"), 3)
        inputs = {"pixel_values": TensorConfig(shape=(channels, size, size))}
        labels = {"labels": TensorConfig(shape=(), dtype="int64")}
        return KeywordDefaults(inputs={**inputs, **(labels if training else {})}, loss=own_loss)
    task = next((task for suffix, task in _TEXT_TASKS.items() if name.endswith(suffix)), None)
    if task is None:
        return None
    tokens = {"input_ids": TensorConfig(shape=("seq_len",), dtype="int64")}
    labels = {"labels": TensorConfig(shape=task, dtype="int64")} if training else {}
    return KeywordDefaults(inputs={**tokens, **labels}, loss=own_loss, sizes={"seq_len": _SEQUENCE_LENGTH})


def transformers_class(model: ModelConfig, folder: Path | None) -> str | None:
    """Return the name of the class that a model of transformers has, from its name or its ``config.json``."""
    name = model.name.removeprefix(TRANSFORMERS)
    file = find_config_json(name, folder or Path())
    if file is None:
        return name if name.isidentifier() else None
    with suppress(OSError, ValueError, RecursionError):
        names = json.loads(file.read_text("utf-8")).get("architectures")
        return str(names[0]) if names else None
    return None


def find_config_json(source: str, folder: Path) -> Path | None:
    """Return the ``config.json`` of a folder, of a file's path, or of a hub id in the local cache; else ``None``.

    The cache is the one of the package huggingface_hub: its folder is HF_HUB_CACHE, or ``hub`` in HF_HOME.
    """
    place = folder / source
    for file in (place, place / "config.json"):
        if file.suffix == ".json" and file.is_file():
            return file
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub")) / f"models--{source.replace('/', '--')}" / "snapshots"
    found = sorted(cache.glob("*/config.json"), key=lambda file: file.stat().st_mtime) if source.count("/") == 1 else []
    return found[-1] if found else None


@overload
def _count(value: Any, default: int) -> int: ...
@overload
def _count(value: Any, default: int | None) -> int | None: ...
def _count(value: Any, default: int | None) -> int | None:
    # If a keyword argument is not a count, the model's factory reports it.
    return value if type(value) is int and value > 0 else default
