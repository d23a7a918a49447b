"""Measure how much GPU memory a PyTorch model needs for training, explain it, and find the largest batch.

`from memprof import fits, max_batch, sweep, explain, compare, fit, track`. Each name is imported when it is first used,
so `import memprof` is fast and does not import torch.
"""

from __future__ import annotations

from memprof._version import __version__

TYPE_CHECKING = False  # as in typing, whose import would be most of the time until the command handles signals
if TYPE_CHECKING:
    from typing import Any

    from memprof.api import (
        CompareResult,
        ExplainResult,
        FitResult,
        FitsResult,
        MaxBatchResult,
        SweepResult,
        TrackResult,
        compare,
        explain,
        fit,
        fits,
        max_batch,
        sweep,
        track,
    )
    from memprof.breakdown.explanation import Block, Category, Difference, Explained, Explanation, ModuleRow
    from memprof.errors import ConfigError, DeviceError, MemprofError, ResultError, WorkloadError
    from memprof.records import (
        Breakdown,
        Environment,
        MaxBatch,
        MemoryFit,
        Reading,
        RunRecord,
        Source,
        Status,
        StopReason,
        Trial,
    )

__all__ = [
    "Block",
    "Breakdown",
    "Category",
    "CompareResult",
    "ConfigError",
    "DeviceError",
    "Difference",
    "Environment",
    "ExplainResult",
    "Explained",
    "Explanation",
    "FitResult",
    "FitsResult",
    "MaxBatch",
    "MaxBatchResult",
    "MemoryFit",
    "MemprofError",
    "ModuleRow",
    "Reading",
    "ResultError",
    "RunRecord",
    "Source",
    "Status",
    "StopReason",
    "SweepResult",
    "TrackResult",
    "Trial",
    "WorkloadError",
    "__version__",
    "compare",
    "explain",
    "fit",
    "fits",
    "max_batch",
    "sweep",
    "track",
]
# The modules that define the names above, those that import least first; the functions and their results are in `api`.
_HOMES = {
    "memprof.errors": ("ConfigError", "DeviceError", "MemprofError", "ResultError", "WorkloadError"),
    "memprof.records": (
        *("Breakdown", "Environment", "MaxBatch", "MemoryFit", "Reading", "RunRecord"),
        *("Source", "Status", "StopReason", "Trial"),
    ),
    "memprof.breakdown.explanation": ("Block", "Category", "Difference", "Explained", "Explanation", "ModuleRow"),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    home = next((module for module, names in _HOMES.items() if name in names), "memprof.api")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
