"""Everything that the page shows, asked for in one run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.fidelity.arithmetic import Prediction
from benchmarks.fidelity.stacks import ROOT, Asked, Stack, opened
from benchmarks.fidelity.truth import Convolution, Run, read_convolutions, read_runs
from benchmarks.machine import describe_machine
from benchmarks.timing import run_python
from memprof.gpus.select import choose_device

_ATTENTION = ROOT / "tests" / "phantom" / "workloads" / "attention.py"
_ATTENTION_GPU = "a100-40gb"  # of the published run it is known that it is older than Hopper
_KEPT_WORKSPACES = {"TORCH_CUBLAS_WORKSPACE_CACHE": "1"}
ESTIMATORS = {"memtracker": "MemTracker", "torchinfo": "torchinfo"}

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What the phantom took in one published run."""

    oom: bool
    requested_bytes: int
    allocated_bytes: int
    reserved_bytes: int


@dataclass(frozen=True, kw_only=True)
class OnStack:
    """The phantom's answers under one set of versions, in the order of the published figures."""

    torch: str
    cudnn: str
    workspaces: tuple[int, ...]
    runs: tuple[Taken, ...]

    @property
    def label(self) -> str:
        """``torch 2.14.1, cuDNN 9.24.0``."""
        return f"torch {self.torch.partition('+')[0]}, cuDNN {self.cudnn}"

    def predictions(self) -> list[Prediction]:
        """Return what the phantom says that NVML would count beside the context: all that the allocator took."""
        return [Prediction(taken_bytes=taken.reserved_bytes, oom=taken.oom) for taken in self.runs]


@dataclass(frozen=True, kw_only=True)
class Collected:
    """The answers of one run of the generator. The first stack is this environment's own."""

    machine: tuple[str, ...]
    attention: Mapping[str, int]  # of the phantom
    attention_estimates: Mapping[str, int | None]  # by the name of the tool
    convolutions: tuple[Convolution, ...]
    runs: tuple[Run, ...]
    stacks: tuple[OnStack, ...]
    estimates: Mapping[str, tuple[int | None, ...]]  # bytes of each run, by the name of the tool


def collect(stacks: Sequence[Stack], say: Say) -> Collected:
    """Ask the phantom on each of `stacks`, and the estimators in this environment."""
    runs, convolutions = read_runs(), read_convolutions()
    return Collected(
        machine=describe_machine(),
        attention=_attention(),
        attention_estimates={name: _estimate_attention(kind) for kind, name in ESTIMATORS.items()},
        convolutions=convolutions,
        runs=runs,
        stacks=tuple(_on_stack(stack, runs, convolutions, say) for stack in stacks),
        estimates=_estimates(stacks[0], runs, say),
    )


def _attention() -> Mapping[str, int]:
    environment = {**choose_device(_ATTENTION_GPU).environment, **_KEPT_WORKSPACES}
    found: Mapping[str, int] = json.loads(run_python([str(_ATTENTION)], environment).output.splitlines()[-1])
    return found


def _estimate_attention(tool: str) -> int | None:
    finished = run_python(["-m", "benchmarks.tools", tool, "attention", "2"], _KEPT_WORKSPACES)
    peak = json.loads(finished.output)["peak_bytes"]
    return None if peak is None else int(peak)


def _on_stack(stack: Stack, runs: Sequence[Run], convolutions: Sequence[Convolution], say: Say) -> OnStack:
    with opened(stack) as asked:
        versions = asked.versions()
        label = f"torch {versions['torch']}, cuDNN {versions['cudnn']}"
        workspaces = tuple(asked.workspace(case) for case in convolutions)
        taken = []
        for run in runs:
            say(f"{label}: {run.model}")
            found = asked.run("phantom", run)
            sizes = {f"{name}_bytes": found[name] for name in ("requested", "allocated", "reserved")}
            taken.append(Taken(oom=found["oom"], **sizes))
    return OnStack(torch=versions["torch"], cudnn=versions["cudnn"], workspaces=workspaces, runs=tuple(taken))


def _estimates(stack: Stack, runs: Sequence[Run], say: Say) -> Mapping[str, tuple[int | None, ...]]:
    found: dict[str, list[int | None]] = {name: [] for name in ESTIMATORS.values()}
    with opened(stack) as asked:
        for run in runs:
            for kind, name in ESTIMATORS.items():
                say(f"{name}: {run.model}")
                found[name].append(_bytes(asked, kind, run, say))
    return {name: tuple(estimates) for name, estimates in found.items()}


def _bytes(asked: Asked, kind: str, run: Run, say: Say) -> int | None:
    """What an estimator says of a run; ``None`` where it fails or is not there."""
    try:
        told = asked.run(kind, run)["bytes"]
    except RuntimeError as failure:
        say(str(failure))
        return None
    return None if told is None else int(told)


def say_on_stderr(text: str) -> None:
    """Say on stderr what is asked now."""
    print(text, file=sys.stderr, flush=True)
