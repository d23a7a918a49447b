"""memprof beside the tools that answer the same question without a GPU."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.results import Answer, Figure
from benchmarks.timing import Finished, run_python
from memprof.gpus.select import choose_device

# Since 2.15 PyTorch frees cuBLAS workspaces after each call; with this it keeps them, as 2.6 did.
_ENVIRONMENT = {"TORCH_CUBLAS_WORKSPACE_CACHE": "1"}
_TOOLS = {"memprof": "memprof (emulated)", "memtracker": "MemTracker", "torchinfo": "torchinfo"}
_STEPS = 3  # as many as a point of a sweep runs
_MANY_STEPS = 30
_MOST_REPEATS = 3


@dataclass(frozen=True, kw_only=True)
class Question:
    """One workload on one GPU of the catalog, and its peak on a real one where that is published."""

    title: str
    workload: str
    gpu: str
    truth_bytes: int | None = None


# The truth: max_memory_allocated of the same workload in a published memory snapshot (torch 2.6.0).
ATTENTION = Question(
    title="attention, 8 x 4096 x 16",
    workload="attention",
    gpu="a100-40gb",
    truth_bytes=3_249_144_832,
)
RESNET50 = Question(title="ResNet-50, batch 32, Adam", workload="resnet50", gpu="h100-80gb")


def training_step(repeats: int) -> Iterator[Figure]:
    """A later step of ResNet-50 on the phantom against the same step under MemTracker and fake tensors."""
    ours, theirs = [], []
    for _ in range(repeats):
        ours.append(_ask("memprof", RESNET50, _MANY_STEPS)[0]["step_seconds"])
        theirs.append(_ask("memtracker", RESNET50, _STEPS)[0]["step_seconds"])
    yield Figure(
        name="a step of ResNet-50",
        memprof=f"{1000 * median(ours):.1f} ms",
        baseline=f"{median(theirs):.2f} s under MemTracker",
        value=median(theirs) / median(ours),
        goal=30.0,
        at_least=True,
    )


def peers(repeats: int) -> Iterator[Answer]:
    """The peak that each tool gives for each workload, and how long it takes."""
    for question in (ATTENTION, RESNET50):
        counted = range(min(repeats, _MOST_REPEATS))
        rounds = [[_ask(tool, question, _STEPS) for tool in _TOOLS] for _ in counted]
        memprof_bytes = rounds[0][0][0]["peak_bytes"]
        if question.truth_bytes is not None:
            yield Answer(
                workload=question.title,
                tool="a real GPU (published)",
                peak_bytes=question.truth_bytes,
                memprof_bytes=memprof_bytes,
            )
        for name, column in zip(_TOOLS.values(), zip(*rounds, strict=True), strict=True):
            yield Answer(
                workload=question.title,
                tool=name,
                peak_bytes=column[0][0]["peak_bytes"],
                memprof_bytes=memprof_bytes,
                seconds=median(answer["seconds"] for answer, _ in column),
                process_seconds=median(finished.seconds for _, finished in column),
            )


def _ask(tool: str, question: Question, steps: int) -> tuple[Any, Finished]:
    environment = dict(_ENVIRONMENT)
    if tool == "memprof":
        environment |= choose_device(question.gpu).environment
    finished = run_python(["-m", "benchmarks.tools", tool, question.workload, str(steps)], environment)
    return json.loads(finished.output), finished
