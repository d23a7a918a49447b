"""Collect everything that the page shows, in one run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.fidelity.arithmetic import Prediction
from benchmarks.fidelity.stacks import ROOT, Stack, StackProcess, open_process
from benchmarks.fidelity.truth import Convolution, Run, read_convolutions, read_runs
from benchmarks.machine import describe_machine
from benchmarks.timing import run_python
from memprof.gpus.select import choose_device

_ATTENTION = ROOT / "tests" / "gpus" / "phantom" / "workloads" / "attention.py"
_ATTENTION_GPU = "a100-40gb"  # the published run had a GPU older than Hopper
_KEPT_WORKSPACES = {"TORCH_CUBLAS_WORKSPACE_CACHE": "1"}
ESTIMATORS = {"memtracker": "MemTracker", "torchinfo": "torchinfo"}

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class PhantomRun:
    """The peaks of one published run on the phantom."""

    oom: bool
    requested_bytes: int
    allocated_bytes: int
    reserved_bytes: int


@dataclass(frozen=True, kw_only=True)
class StackResult:
    """The phantom's figures with one set of versions, in the order of the published figures."""

    torch: str
    cudnn: str
    workspaces: tuple[int, ...]
    runs: tuple[PhantomRun, ...]

    @property
    def label(self) -> str:
        """``torch 2.14.1, cuDNN 9.24.0``."""
        return f"torch {self.torch.partition('+')[0]}, cuDNN {self.cudnn}"

    def predictions(self) -> list[Prediction]:
        """Return the predictions of NVML's figure without the context: the allocator's reserved bytes."""
        return [Prediction(taken_bytes=run.reserved_bytes, oom=run.oom) for run in self.runs]


@dataclass(frozen=True, kw_only=True)
class Collected:
    """The figures of one run of the generator; the first stack is that of this environment."""

    machine: tuple[str, ...]
    attention: Mapping[str, int]  # of the phantom
    attention_estimates: Mapping[str, int | None]  # by the name of the tool
    convolutions: tuple[Convolution, ...]
    runs: tuple[Run, ...]
    stacks: tuple[StackResult, ...]
    estimates: Mapping[str, tuple[int | None, ...]]  # bytes of each run, by the name of the tool


def collect(stacks: Sequence[Stack], report: Report) -> Collected:
    """Run the phantom on each of `stacks`, and the estimators in this environment."""
    runs, convolutions = read_runs(), read_convolutions()
    return Collected(
        machine=describe_machine(),
        attention=_attention(),
        attention_estimates={name: _estimate_attention(kind) for kind, name in ESTIMATORS.items()},
        convolutions=convolutions,
        runs=runs,
        stacks=tuple(_on_stack(stack, runs, convolutions, report) for stack in stacks),
        estimates=_estimates(stacks[0], runs, report),
    )


def _attention() -> Mapping[str, int]:
    environment = {**choose_device(_ATTENTION_GPU).environment, **_KEPT_WORKSPACES}
    found: Mapping[str, int] = json.loads(run_python([str(_ATTENTION)], environment).output.splitlines()[-1])
    return found


def _estimate_attention(tool: str) -> int | None:
    finished = run_python(["-m", "benchmarks.tools", tool, "attention", "2"], _KEPT_WORKSPACES)
    peak = json.loads(finished.output)["peak_bytes"]
    return None if peak is None else int(peak)


def _on_stack(stack: Stack, runs: Sequence[Run], convolutions: Sequence[Convolution], report: Report) -> StackResult:
    with open_process(stack) as process:
        versions = process.versions()
        label = f"torch {versions['torch']}, cuDNN {versions['cudnn']}"
        workspaces = tuple(process.workspace(case) for case in convolutions)
        results = []
        for run in runs:
            report(f"{label}: {run.model}")
            found = process.run("phantom", run)
            sizes = {f"{name}_bytes": found[name] for name in ("requested", "allocated", "reserved")}
            results.append(PhantomRun(oom=found["oom"], **sizes))
    return StackResult(torch=versions["torch"], cudnn=versions["cudnn"], workspaces=workspaces, runs=tuple(results))


def _estimates(stack: Stack, runs: Sequence[Run], report: Report) -> Mapping[str, tuple[int | None, ...]]:
    found: dict[str, list[int | None]] = {name: [] for name in ESTIMATORS.values()}
    with open_process(stack) as process:
        for run in runs:
            for kind, name in ESTIMATORS.items():
                report(f"{name}: {run.model}")
                found[name].append(_bytes(process, kind, run, report))
    return {name: tuple(estimates) for name, estimates in found.items()}


def _bytes(process: StackProcess, kind: str, run: Run, report: Report) -> int | None:
    """Return an estimator's bytes for a run; ``None`` if it fails or is not installed."""
    try:
        estimate = process.run(kind, run)["bytes"]
    except RuntimeError as failure:
        report(str(failure))
        return None
    return None if estimate is None else int(estimate)


def print_progress(text: str) -> None:
    """Print a line of progress to stderr."""
    print(text, file=sys.stderr, flush=True)
