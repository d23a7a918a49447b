"""memprof: how much GPU memory a PyTorch model takes to train, why, and how far it can go.

In Python: `from memprof import sweep, explain, max_batch, track`. Each name is imported when it is first used, so
`import memprof` is fast and does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from memprof._version import __version__

if TYPE_CHECKING:
    from memprof.api import explain, max_batch, sweep, track

__all__ = ["__version__", "explain", "max_batch", "sweep", "track"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("memprof.api"), name)
