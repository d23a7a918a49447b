"""Models of timm, diffusers and Hugging Face's transformers, from their configuration, with random weights."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from memprof.config.names import DIFFUSERS, TIMM, TRANSFORMERS, find_config_json
from memprof.config.schema import ModelConfig, SweepConfig
from memprof.errors import WorkloadError, did_you_mean
from memprof.workload.reason import reason


def build_timm(spec: ModelConfig) -> nn.Module:
    """Return ``timm.create_model(NAME, pretrained=False, **kwargs)``.

    Raises:
        WorkloadError: timm is not installed, has no such model or refuses `kwargs`, or pretrained weights are
            requested.
    """
    timm, name = _package("timm", spec), spec.name.removeprefix(TIMM)
    if spec.kwargs.get("pretrained"):
        raise WorkloadError(f"model {spec.name!r}: memprof downloads nothing; remove pretrained")
    if not timm.is_model(name):
        raise WorkloadError(f"model {spec.name!r} is not in timm{did_you_mean(name, timm.list_models())}")
    try:
        model: nn.Module = timm.create_model(name, **{**spec.kwargs, "pretrained": False})
    except Exception as error:
        raise WorkloadError(f"model {spec.name!r} cannot be built: {reason(error)}") from error
    return model


def build_diffusers(spec: ModelConfig) -> nn.Module:
    """Return ``CLASS.from_config(kwargs)`` of diffusers.

    Raises:
        WorkloadError: diffusers is not installed, has no such model, or refuses the keyword arguments.
    """
    diffusers, name = _package("diffusers", spec), spec.name.removeprefix(DIFFUSERS)
    kind = getattr(diffusers, name, None)
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        known = (entry for entry in dir(diffusers) if entry.endswith(("Model", "2D", "3D")))
        raise WorkloadError(f"model {spec.name!r} is not a model class of diffusers{did_you_mean(name, known)}")
    try:
        model: nn.Module = kind.from_config(spec.kwargs)  # type: ignore[attr-defined]  # ConfigMixin's
    except Exception as error:
        raise WorkloadError(f"model {spec.name!r} cannot be built: {reason(error)}") from error
    return model


def build_transformers(config: SweepConfig, folder: Path) -> nn.Module:
    """Return a model of transformers: by class, by the folder of its ``config.json``, or by a cached hub id.

    A class is made from its configuration class with `kwargs`. A folder or an id names the class in its
    ``config.json``; `kwargs` then change single values. Nothing is downloaded.

    Raises:
        WorkloadError: transformers is not installed, has no such model, refuses the keyword arguments, or the id is
            not in the cache.
    """
    spec = config.model
    transformers, name = _package("transformers", spec), spec.name.removeprefix(TRANSFORMERS)
    kwargs = dict(spec.kwargs)
    is_class = name.isidentifier() and find_config_json(name, folder) is None
    source = str(kwargs.pop("config", "")) if name.startswith("Auto") else "" if is_class else name
    if config.attention is not None:
        kwargs["attn_implementation"] = config.attention.value
    try:
        if source:
            return _from_config_json(transformers, spec, source, folder, kwargs)
        kind = _model_class(transformers, name, spec)
        model: nn.Module = kind(kind.config_class(**kwargs))
    except WorkloadError:
        raise
    except Exception as error:
        raise WorkloadError(f"model {spec.name!r} cannot be built: {reason(error)}") from error
    return model


def _from_config_json(
    transformers: ModuleType, spec: ModelConfig, source: str, folder: Path, kwargs: dict[str, Any]
) -> nn.Module:
    file = find_config_json(source, folder)
    if file is None:
        raise WorkloadError(
            f"model {spec.name!r}: {source} is no folder with a config.json and not in the local Hugging Face cache; "
            f"download its configuration with: huggingface-cli download {source} config.json"
        )
    settings = transformers.AutoConfig.from_pretrained(file.parent, **kwargs)
    name = spec.name.removeprefix(TRANSFORMERS)
    if name.startswith("Auto"):
        auto = getattr(transformers, name, None)
        if auto is None or not hasattr(auto, "from_config"):
            raise WorkloadError(f"model {spec.name!r} is not a class of transformers{_near(transformers, name)}")
        model: nn.Module = auto.from_config(settings)
        return model
    names = settings.architectures or ()
    if not names:
        raise WorkloadError(f"model {spec.name!r}: {file} names no architecture; write transformers:CLASS instead")
    kind = _model_class(transformers, names[0], spec)
    built: nn.Module = kind(settings)
    return built


def _model_class(transformers: ModuleType, name: str, spec: ModelConfig) -> Any:
    if name.startswith("Auto"):
        raise WorkloadError(
            f"model {spec.name!r} needs a configuration: kwargs: {{config: FOLDER}}, or a cached id as config"
        )
    kind: Any = getattr(transformers, name, None)
    if getattr(kind, "config_class", None) is None:
        raise WorkloadError(f"model {spec.name!r} is not a model class of transformers{_near(transformers, name)}")
    return kind


def _near(transformers: ModuleType, name: str) -> str:
    known = (entry for entry in dir(transformers) if "For" in entry or entry.endswith("Model"))
    return did_you_mean(name, _other_than(name, known))


def _other_than(name: str, known: Iterable[str]) -> list[str]:
    return [entry for entry in known if entry != name]


def _package(name: str, spec: ModelConfig) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise WorkloadError(f"model {spec.name!r} needs {name}: {reason(error)}; run: pip install {name}") from error
