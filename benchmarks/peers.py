"""Compare memprof with other tools that predict memory without a GPU."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.results import Figure, ToolPeak
from benchmarks.timing import Finished, run_python
from memprof.gpus.select import choose_device

# Since 2.15 PyTorch frees cuBLAS workspaces after each call; this setting keeps them, as in 2.6.
_ENVIRONMENT = {"TORCH_CUBLAS_WORKSPACE_CACHE": "1"}
_TOOLS = {"memprof": "memprof (emulated)", "memtracker": "MemTracker", "torchinfo": "torchinfo"}
_STEPS = 3  # as in a point of a sweep
_MANY_STEPS = 30
_MAX_REPEATS = 3


@dataclass(frozen=True, kw_only=True)
class Task:
    """One workload on one GPU of the catalog, and its published peak on a real GPU, if any."""

    title: str
    workload: str
    gpu: str
    published_bytes: int | None = None


# Published: max_memory_allocated of the same workload in a published memory snapshot (torch 2.6.0).
ATTENTION = Task(
    title="attention, 8 x 4096 x 16",
    workload="attention",
    gpu="a100-40gb",
    published_bytes=3_249_144_832,
)
RESNET50 = Task(title="ResNet-50, batch 32, Adam", workload="resnet50", gpu="h100-80gb")


def training_step(repeats: int) -> Iterator[Figure]:
    """Compare a later step of ResNet-50 on the phantom with the same step under MemTracker and fake tensors."""
    ours, memtracker = [], []
    for _ in range(repeats):
        ours.append(_run("memprof", RESNET50, _MANY_STEPS)[0]["step_seconds"])
        memtracker.append(_run("memtracker", RESNET50, _STEPS)[0]["step_seconds"])
    yield Figure(
        name="a step of ResNet-50",
        memprof=f"{1000 * median(ours):.1f} ms",
        baseline=f"{median(memtracker):.2f} s under MemTracker",
        value=median(memtracker) / median(ours),
        goal=30.0,
        at_least=True,
    )


def peers(repeats: int) -> Iterator[ToolPeak]:
    """Yield the peak that each tool predicts for each workload, and its time."""
    for task in (ATTENTION, RESNET50):
        counted = range(min(repeats, _MAX_REPEATS))
        rounds = [[_run(tool, task, _STEPS) for tool in _TOOLS] for _ in counted]
        memprof_bytes = rounds[0][0][0]["peak_bytes"]
        if task.published_bytes is not None:
            yield ToolPeak(
                workload=task.title,
                tool="a real GPU (published)",
                peak_bytes=task.published_bytes,
                memprof_bytes=memprof_bytes,
            )
        for name, column in zip(_TOOLS.values(), zip(*rounds, strict=True), strict=True):
            yield ToolPeak(
                workload=task.title,
                tool=name,
                peak_bytes=column[0][0]["peak_bytes"],
                memprof_bytes=memprof_bytes,
                seconds=median(found["seconds"] for found, _ in column),
                process_seconds=median(finished.seconds for _, finished in column),
            )


def _run(tool: str, task: Task, steps: int) -> tuple[Any, Finished]:
    environment = dict(_ENVIRONMENT)
    if tool == "memprof":
        environment |= choose_device(task.gpu).environment
    finished = run_python(["-m", "benchmarks.tools", tool, task.workload, str(steps)], environment)
    return json.loads(finished.output), finished
