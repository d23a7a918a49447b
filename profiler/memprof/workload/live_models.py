"""Load a module that another process sent: ``live:NAME``, whose keyword argument `file` is where it was saved."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import nn

from memprof.config.schema import ModelConfig
from memprof.errors import WorkloadError
from memprof.workload.reason import reason


def build_live_model(spec: ModelConfig) -> nn.Module:
    """Return the module, on the CPU, whatever device it was on.

    Raises:
        WorkloadError: the file is missing, or a class of the module cannot be imported here.
    """
    file = Path(str(spec.kwargs.get("file", "")))
    if not file.is_file():
        raise WorkloadError(f"model {spec.name!r} was sent by a Python process and is gone; send it again")
    _extend_path(file.with_suffix(".path.json"))
    try:
        model = torch.load(file, map_location="cpu", weights_only=False)
    except Exception as error:
        raise WorkloadError(f"model {spec.name!r} cannot be loaded in the worker: {reason(error)}") from error
    if not isinstance(model, nn.Module):
        raise WorkloadError(f"model {spec.name!r} is {type(model).__name__}, which is not a torch.nn.Module")
    return model


def _extend_path(file: Path) -> None:
    """Let the module import what the process that sent it could import."""
    sys.path += [entry for entry in json.loads(file.read_text("utf-8")) if entry not in sys.path]
