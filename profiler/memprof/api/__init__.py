"""The Python API: each function returns a result with a data frame and a display for notebooks.

The functions run in a worker process, as the commands do; CUDA is not initialized in this process, and may be in use.
`track` follows a loop that runs here. Nothing is written to disk unless a file is named.
"""

from memprof.api.functions import compare, explain, fit, fits, max_batch, sweep
from memprof.api.results import (
    CompareResult,
    ExplainResult,
    FitResult,
    FitsResult,
    MaxBatchResult,
    SweepResult,
    TrackResult,
)
from memprof.api.tracking import track

__all__ = [
    "CompareResult",
    "ExplainResult",
    "FitResult",
    "FitsResult",
    "MaxBatchResult",
    "SweepResult",
    "TrackResult",
    "compare",
    "explain",
    "fit",
    "fits",
    "max_batch",
    "sweep",
    "track",
]
