"""Build the model, batch, loss and optimizer that a config describes.

The names below are imported on first use, because their modules import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memprof.workload.batches import Batch, make_batch
    from memprof.workload.loaders import make_loader
    from memprof.workload.loading import BatchLoader
    from memprof.workload.losses import Loss, build_loss
    from memprof.workload.models import build_model
    from memprof.workload.optimizers import build_optimizer
    from memprof.workload.precision import autocast, autocast_dtype

__all__ = [
    "Batch",
    "BatchLoader",
    "Loss",
    "autocast",
    "autocast_dtype",
    "build_loss",
    "build_model",
    "build_optimizer",
    "make_batch",
    "make_loader",
]


def __getattr__(name: str) -> Any:
    homes = {
        "Batch": "batches",
        "BatchLoader": "loading",
        "make_loader": "loaders",
        "make_batch": "batches",
        "Loss": "losses",
        "build_loss": "losses",
        "build_model": "models",
        "build_optimizer": "optimizers",
        "autocast": "precision",
        "autocast_dtype": "precision",
    }
    if name not in homes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{homes[name]}"), name)
