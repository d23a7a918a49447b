"""The Python API: each function returns an answer with a pandas data frame, a dict and a display for notebooks.

`sweep`, `explain`, `max_batch`, `fits`, `compare` and `fit` run in a worker process, as the commands do; CUDA is not
initialized in this process. `track` follows a loop that runs here. Nothing is kept on disk unless a file is named.
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
