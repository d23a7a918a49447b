"""The models that a server keeps for its children: each child gets a copy of their pages with the fork."""

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

ModelSource = Callable[[], torch.nn.Module]
_MOST_KEPT = 2  # beside the server's own: host memory counts
# What a config may say differently about the same weights.
_OF_THE_RUN = {
    "name", "optimizers", "batch_sizes", "steps", "gpu", "allocator", "cudnn", "tf32", "timeout_seconds", "target",
    "loss", "gradient_accumulation", "set_to_none", "optimizer_in_backward", "compile",
}  # fmt: skip


class Models:
    """Models on the CPU by the part of their config that makes them what they are."""

    def __init__(self, config: SweepConfig, folder: Path) -> None:
        self._config, self._folder = config, folder
        self._models: OrderedDict[str, torch.nn.Module] = OrderedDict()

    def build(self) -> None:
        """Build the server's own model.

        Raises:
            WorkloadError: the factory is missing, raises, or returns something that is no model.
        """
        self._models[_identity(self._config)] = build_model(self._config, self._folder)

    def prepare(self, config: SweepConfig | None) -> None:
        """Build what `config` needs before the fork, where that is no code of the user's: it could touch CUDA or hang.

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
        """Return what gives the model of `config` (the server's own: ``None``): the one kept, else a new one."""
        wanted = config or self._config
        kept = self._models.get(_identity(wanted))
        return lambda: kept if kept is not None else build_model(wanted, self._folder)


def _identity(config: SweepConfig) -> str:
    return json.dumps(config.model_dump(mode="json", exclude=_OF_THE_RUN), sort_keys=True)
