"""The buffers of sums over rows, against what PyTorch requests for the same sums on phantoms."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from memprof.breakdown.analytic.reductions import reduction_requests
from memprof.gpus.catalog import find_gpu
from memprof.gpus.select import phantom_device
from memprof.gpus.traits import traits_of

# Rows, columns, dtype: many and few of each, odd numbers, and each dtype of a gradient.
SUMS = (
    *((rows, columns, "float32") for rows in (16, 300, 1024, 4096, 50_000) for columns in (1, 10, 128, 768, 3072)),
    *((2048, columns, dtype) for columns in (7, 30, 1000) for dtype in ("float16", "bfloat16", "float64")),
    (200_000, 64, "float32"),
)
REQUESTED = f"""
import json, torch
found = []
for rows, columns, dtype in {SUMS!r}:
    given = torch.empty(rows, columns, dtype=getattr(torch, dtype), device="cuda")
    given.sum(0, keepdim=True)
    torch.cuda.memory._record_memory_history(context=None)
    result = given.sum(0, keepdim=True)
    [history] = torch.cuda.memory._snapshot()["device_traces"]
    torch.cuda.memory._record_memory_history(enabled=None)
    found.append([event["size"] for event in history if event["action"] == "alloc"][1:])
print(json.dumps(found))
"""


@pytest.mark.parametrize("gpu", ["t4", "rtx-3090", "h100-80gb"])
def test_reduction_requests_are_those_of_pytorch(gpu: str) -> None:
    spec = find_gpu(gpu)
    environment = {**os.environ, **phantom_device(spec).environment}
    done = subprocess.run(
        [sys.executable, "-c", REQUESTED], env=environment, capture_output=True, text=True, check=True, timeout=300
    )
    for (rows, columns, dtype), requested in zip(SUMS, json.loads(done.stdout), strict=True):
        tensor = torch.empty(rows, columns, dtype=getattr(torch, dtype), device="meta")
        assert list(reduction_requests(tensor, [0], traits_of(spec))) == requested, (rows, columns, dtype)


def test_reduction_requests_of_other_layouts_are_none() -> None:
    traits = traits_of(find_gpu("t4"))
    tensor = torch.empty(4096, 64, device="meta")
    assert reduction_requests(tensor, [0], traits)
    assert reduction_requests(tensor.t(), [1], traits) == ()
    assert reduction_requests(tensor, [0, 1], traits) == ()
    assert reduction_requests(tensor.to(torch.int64), [0], traits) == ()
