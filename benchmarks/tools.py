"""`python -m benchmarks.tools TOOL WORKLOAD STEPS`: the peak of one workload by one tool, as JSON.

Its time starts after `import torch, torchvision`, which all of the tools need.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Mapping
from statistics import median

import torch

from benchmarks.timing import seconds_of
from benchmarks.workloads import WORKLOADS, Workload

Build = Callable[[torch.device], Workload]
Found = dict[str, float | None]  # peak_bytes: None if not installed; step_seconds: the median after the first step


def run_memprof(build: Build, steps: int) -> Found:
    """Return the peak of PyTorch's allocator on the phantom GPU of this process."""
    workload = build(torch.device("cuda"))

    def step() -> None:
        workload.step()
        torch.cuda.synchronize()

    seconds = [seconds_of(step) for _ in range(steps)]
    return {"peak_bytes": torch.cuda.max_memory_allocated(), "step_seconds": median(seconds[1:])}


def run_memtracker(build: Build, steps: int) -> Found:
    """Run PyTorch's MemTracker with fake tensors on the CPU, as in its documentation."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.distributed._tools.mem_tracker import MemTracker

    cpu, tracker, seconds = torch.device("cpu"), MemTracker(), []
    with FakeTensorMode():
        workload = build(cpu)
        tracker.track_external(*workload.externals)
        with tracker:
            for _ in range(steps):
                seconds.append(seconds_of(workload.step))
                tracker.reset_mod_stats()
    peak_bytes = tracker.get_tracker_snapshot("peak")[cpu]["Total"]
    return {"peak_bytes": peak_bytes, "step_seconds": median(seconds[1:])}


def run_torchinfo(build: Build, _steps: int) -> Found:
    """Return the "Estimated Total Size" of torchinfo's summary, which runs only the forward pass."""
    if importlib.util.find_spec("torchinfo") is None:
        return {"peak_bytes": None}
    torchinfo = importlib.import_module("torchinfo")
    workload = build(torch.device("cpu"))
    found = torchinfo.summary(workload.model, input_data=list(workload.inputs), mode="train", verbose=0)
    return {"peak_bytes": found.total_input + found.total_output_bytes + found.total_param_bytes}


TOOLS: Mapping[str, Callable[[Build, int], Found]] = {
    "memprof": run_memprof,
    "memtracker": run_memtracker,
    "torchinfo": run_torchinfo,
}


def main(tool: str, workload: str, steps: str) -> None:
    """Run one tool on one workload and print the result."""
    started = time.perf_counter()
    found = TOOLS[tool](WORKLOADS[workload], int(steps))
    print(json.dumps({**found, "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main(*sys.argv[1:])
