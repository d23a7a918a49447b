"""A model's name in place of a config file: ``memprof max-batch torchvision:resnet50``."""

from __future__ import annotations

import re
from pathlib import Path

from memprof.config.names import BUILT_IN, DIFFUSERS, TIMM, TORCHVISION, TRANSFORMERS, user_model
from memprof.config.overrides import Settings
from memprof.config.sections import MAX_NAME_LENGTH

_LIBRARIES = (TORCHVISION, TIMM, TRANSFORMERS, DIFFUSERS)


def is_model_name(path: Path) -> bool:
    """Return whether a command's argument names a model: it has the form of one, and no file has that name."""
    name = str(path)
    has_form = name in BUILT_IN or name.startswith(_LIBRARIES) or user_model(name) is not None
    return has_form and not path.is_file()


def model_settings(path: Path) -> Settings:
    """Return the settings of a config that has nothing but the model."""
    name = str(path)
    return Settings(value={"model": name}, places={(): name, ("model",): name})


def source_name(path: Path) -> str:
    """Return the name of the results: that of the config file, or that of the model."""
    name = str(path)
    if is_model_name(path):
        own = user_model(name)
        name = f"{own.file.stem}-{own.factory}" if own else name.rpartition(":")[2].rstrip("/").rpartition("/")[2]
    else:
        name = path.stem
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip("._-")[:MAX_NAME_LENGTH] or "config"


def hint_of_model(path: Path) -> str:
    """Return what to write if a file is missing whose name looks like that of a model."""
    name = str(path)
    if path.suffix == ".py":
        return f"; for a model in it, name the function or class that returns it, as in {name}:build"
    if re.fullmatch(r"\w+", name):
        return f"; for a model, write for example {TORCHVISION}{name} or {TIMM}{name}"
    return ""
