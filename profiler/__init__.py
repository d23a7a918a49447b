"""memprof: how much GPU memory training a PyTorch model takes, why, and how far it can go.

In a notebook or a script: `from profiler import sweep, explain, max_batch, track`. They are imported when first asked
for, so that the command line starts at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from profiler.notebook import explain, max_batch, sweep, track

__version__ = "0.1.0"
__all__ = ["__version__", "explain", "max_batch", "sweep", "track"]


def __getattr__(name: str) -> Any:
    if name not in ("explain", "max_batch", "sweep", "track"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("profiler.notebook"), name)
