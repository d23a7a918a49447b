"""The models that a server keeps for its children; each child shares their pages after the fork."""

from __future__ import annotations

import gc
import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import torch

from memprof.config.names import user_model
from memprof.config.schema import SweepConfig
from memprof.workload import build_model

_TO_JSON = json.JSONEncoder(sort_keys=True)  # bound before a model can replace functions of the json module
ModelSource = Callable[[], torch.nn.Module]
_MOST_KEPT = 2  # besides the server's own, since each takes host memory
# Keys in which two configs may differ and still have the same model.
_OF_THE_RUN = {
    "name", "optimizers", "batch_sizes", "steps", "gpu", "allocator", "cudnn", "tf32", "timeout_seconds", "target",
    "loss", "gradient_accumulation", "set_to_none", "optimizer_in_backward", "compile",
    "batch", "evaluation", "resume", "data",
    "clip_grad_norm", "scheduler", "ema", "parallel", "values", "routing",
}  # fmt: skip


class Models:
    """Models on the CPU, by the part of their config that determines them."""

    def __init__(self, config: SweepConfig, folder: Path) -> None:
        self._config, self._folder = config, folder
        self._models: OrderedDict[str, torch.nn.Module] = OrderedDict()

    def build(self) -> None:
        """Build the server's own model.

        Raises:
            WorkloadError: the factory is missing, raises an exception, or does not return a model.
        """
        self._models[_identity(self._config)] = build_model(self._config, self._folder)

    def prepare(self, config: SweepConfig | None) -> None:
        """Build the model of `config` before the fork, unless it is the user's code, which could use CUDA or hang.

        Raises:
            WorkloadError: as `build`.
        """
        config = config or self._config
        identity = _identity(config)
        if identity in self._models or not self._models or user_model(config.model.name) is not None:
            return
        self._models[identity] = build_model(config, self._folder)
        own = _identity(self._config)
        others = [key for key in self._models if key != own]
        for key in others[:-_MOST_KEPT]:
            del self._models[key]
        gc.collect()
        gc.freeze()  # a collection in a child would write to, and so copy, every page with an object

    def source(self, config: SweepConfig | None) -> ModelSource:
        """Return a function that gives the model of `config`, kept or new; ``None`` is the server's own config."""
        wanted = config or self._config
        kept = self._models.get(_identity(wanted))
        return lambda: kept if kept is not None else build_model(wanted, self._folder)


def _identity(config: SweepConfig) -> str:
    settings = config.model_dump(mode="json", exclude=_OF_THE_RUN)
    return _TO_JSON.encode([settings, config.parallel is not None])  # one rank of any mesh starts without memory
