"""Build models of timm and Hugging Face transformers from their configuration, with random weights."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from torch import nn

from memprof.config.names import TIMM, TRANSFORMERS
from memprof.config.schema import ModelConfig
from memprof.errors import WorkloadError, did_you_mean
from memprof.workload.reason import reason


def build_timm(spec: ModelConfig) -> nn.Module:
    """Return ``timm.create_model(NAME, pretrained=False, **kwargs)``.

    Raises:
        WorkloadError: timm is not installed, has no such model or refuses `kwargs`, or weights are requested.
    """
    timm, name = _package("timm", spec), spec.name.removeprefix(TIMM)
    if spec.kwargs.get("pretrained"):
        raise WorkloadError(f"model {spec.name!r}: memprof downloads nothing; leave out pretrained")
    if not timm.is_model(name):
        raise WorkloadError(f"model {spec.name!r} is not in timm{did_you_mean(name, timm.list_models())}")
    try:
        model: nn.Module = timm.create_model(name, **{**spec.kwargs, "pretrained": False})
    except Exception as error:
        raise WorkloadError(f"model {spec.name!r} cannot be built: {reason(error)}") from error
    return model


def build_transformers(spec: ModelConfig) -> nn.Module:
    """Return an instance of the class of transformers, created from its configuration class with `kwargs`.

    Raises:
        WorkloadError: transformers is not installed, has no such model, or refuses the keyword arguments.
    """
    transformers, name = _package("transformers", spec), spec.name.removeprefix(TRANSFORMERS)
    kind: Any = getattr(transformers, name, None)
    if getattr(kind, "config_class", None) is None:
        hint = did_you_mean(name, [known for known in dir(transformers) if "For" in known or known.endswith("Model")])
        raise WorkloadError(f"model {spec.name!r} is not a model class of transformers{hint}")
    try:
        model: nn.Module = kind(kind.config_class(**spec.kwargs))
    except Exception as error:
        raise WorkloadError(f"model {spec.name!r} cannot be built: {reason(error)}") from error
    return model


def _package(name: str, spec: ModelConfig) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise WorkloadError(f"model {spec.name!r} needs {name}: {reason(error)}; run: pip install {name}") from error
