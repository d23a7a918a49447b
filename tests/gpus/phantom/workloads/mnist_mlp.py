"""The peaks of each phase of mnist_mlp as a sweep measures them. Arguments: an optimizer and a batch size."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from memprof.config.schema import OptimizerConfig, SweepConfig
from memprof.measure.run import measure
from memprof.workload import build_model

CONFIG = SweepConfig.model_validate(
    {
        "name": "mnist_mlp",
        "model": "mnist_mlp",
        "input": {"shape": [1, 28, 28]},
        "target": {"shape": [], "dtype": "int64", "range": [0, 10]},
    }
)

model = build_model(CONFIG, Path())
outcome = measure(model, CONFIG, OptimizerConfig(name=sys.argv[1]), int(sys.argv[2]), torch.device("cuda", 0))
assert outcome.reading is not None, outcome.error
found = {
    f"{number} {phase.phase}": [
        phase.allocated_before_bytes,
        phase.peak_allocated_bytes,
        phase.peak_reserved_bytes,
        phase.peak_requested_bytes,
        phase.allocated_after_bytes,
    ]
    for number, step in enumerate(outcome.reading.steps, 1)
    for phase in step.phases
}
print(json.dumps({"status": outcome.status, **found}))
