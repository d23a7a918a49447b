"""`python -m benchmarks.campaign`: a training step of every torchvision model on a phantom GPU and under MemTracker.

It writes docs/campaign.md. With `--model NAME`, which may be repeated, it runs these models and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.fidelity.real_gpus import detection, families, read_models
from benchmarks.machine import describe_machine
from memprof.gpus.catalog import find_gpu
from memprof.gpus.phantom.build import build_phantom
from memprof.gpus.phantom.environment import phantom_environment
from memprof.units import format_bytes

GPU = "h100-80gb"
REPORT = Path("docs", "campaign.md")
OUTLIER = 0.05  # a difference from MemTracker's peak, without workspaces, that counts as an outlier

Figures = Mapping[str, Any]  # of one step; or "error", or "crash"


@dataclass(frozen=True, kw_only=True)
class Row:
    """The figures of one model on the phantom and under MemTracker; all peaks are allocated bytes."""

    model: str
    phantom: Figures
    tracker: Figures

    @property
    def failed(self) -> str | None:
        """Why the step on the phantom failed: an exception, or the signal that ended the process."""
        if "crash" in self.phantom:
            return f"crashed: {self.phantom['crash']}"
        return self.phantom.get("error")

    @property
    def difference(self) -> float | None:
        """The phantom's peak minus its workspaces, relative to MemTracker's peak; ``None`` if that has none."""
        tracked = self.tracker.get("peak_bytes")
        if self.failed or not tracked:
            return None
        return float((self.phantom["requested_bytes"] - self.workspaces_bytes) / tracked - 1)

    @property
    def workspaces_bytes(self) -> int:
        """The workspaces of cuBLAS and cuDNN at the peak."""
        return int(self.phantom["cublas_bytes"] + self.phantom["cudnn_bytes"])


class Server:
    """A process that has imported torch and forks a child per model; `environment` may give it a phantom."""

    def __init__(self, environment: Mapping[str, str], module: str = "benchmarks.campaign_child") -> None:
        self._module = module
        self._environment = {**environment, "TORCH_CPP_LOG_LEVEL": "ERROR", "PYTHONPATH": os.pathsep.join(sys.path)}
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", self._module],
            env={**os.environ, **self._environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.models: Sequence[str] = json.loads(self._read())

    def run(self, kind: str, model: str) -> Figures:
        """Return the figures of a model; `kind` is one that the server knows."""
        assert self._process.stdin is not None
        print(kind, model, file=self._process.stdin, flush=True)
        line = self._read()
        if not line:  # the server itself has died
            self._start()
            return {"crash": "the server"}
        found: Figures = json.loads(line)
        return found

    def close(self) -> None:
        """Stop the server."""
        self._process.communicate()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@contextmanager
def open_server(environment: Mapping[str, str], module: str = "benchmarks.campaign_child") -> Iterator[Server]:
    """Start a server, and stop it at the end of the block."""
    started = Server(environment, module)
    try:
        yield started
    finally:
        started.close()


def campaign(selected: Sequence[str] = ()) -> Iterator[Row]:
    """Run the selected models, or all of them."""
    with open_server(phantom_environment(build_phantom(), find_gpu(GPU))) as running:
        for model in selected or running.models:
            yield Row(model=model, phantom=running.run("step", model), tracker=running.run("tracker", model))


def markdown(rows: Sequence[Row]) -> str:
    """Return the report: how many models ran, and a table of all of them."""
    ran, crashed = [row for row in rows if not row.failed], [row for row in rows if "crash" in row.phantom]
    compared = sorted(row.difference for row in rows if row.difference is not None)
    outliers = [row for row in rows if row.difference is not None and abs(row.difference) > OUTLIER]
    step = median(row.phantom["step_seconds"] for row in ran)
    return "\n".join(
        [
            "# Every torchvision model on a phantom GPU",
            "",
            f"`python -m benchmarks.campaign` wrote this page. {' '.join(describe_machine())}",
            "",
            f"**{len(ran)} of {len(rows)} classification, detection and segmentation models took two training steps; "
            f"{len(crashed)} crashed.** Batch 2, float32, SGD with momentum, random weights, phantom {GPU}. "
            f"The median time of the second step was {1000 * step:.0f} ms on the host.",
            "",
            "Does the phantom miss or add memory? PyTorch's MemTracker answers the same question in another way: it "
            "adds up tensors under fake operators on the CPU. It knows no workspaces, no rounding, and no operator "
            "whose output depends on values, so it has no figure for detection models. How far detection models are "
            f"from a real GPU is in [Fidelity](fidelity.md#in-short): {_detection()}.",
            "",
            "The last column compares the two. It takes the bytes that were requested at the phantom's peak, without "
            "the workspaces that are alive then: two of cuBLAS if there is a matrix product, and those of cuDNN's "
            f"plans. Of {len(compared)} models with both figures, the median difference is "
            f"{100 * median(compared):+.1f} %, the largest {100 * max(compared, key=abs):+.1f} %, and {len(outliers)} "
            f"{'is' if len(outliers) == 1 else 'are'} more than {100 * OUTLIER:.0f} % apart{_named(outliers)}. "
            "If a workspace makes the peak, the peak is at another moment than MemTracker's, when less else is alive. "
            "Then the difference is negative.",
            "",
            "| model | parameters | allocated | requested | cuBLAS | cuDNN | MemTracker | requested − workspaces |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
            *map(_line, rows),
            "",
        ]
    )


def _detection() -> str:
    found = detection(families(read_models()))
    worst = f"{100 * found.worst.allocated_error:.0f} %".replace("-", "−")
    return f"the median error is {100 * found.median_error:.0f} %, the worst {worst}"


def _named(rows: Sequence[Row]) -> str:
    return f": {', '.join(row.model for row in rows)}" if rows else ""


def _line(row: Row) -> str:
    peak_bytes = row.tracker.get("peak_bytes")
    tracked = format_bytes(peak_bytes) if peak_bytes else "-"
    if row.failed:
        return f"| {row.model} | - | {row.failed} | - | - | - | {tracked} | - |"
    found, difference = row.phantom, "-" if row.difference is None else f"{100 * row.difference:+.1f} %"
    parts = (found[f"{name}_bytes"] for name in ("peak", "requested", "cublas", "cudnn"))
    return (
        f"| {row.model} | {found['parameters']:,} | {' | '.join(map(format_bytes, parts))} | {tracked} | {difference} |"
    )


def main() -> int:
    """Print a line for each model; the exit status is 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.campaign", description=__doc__)
    parser.add_argument("--model", action="append", default=[], metavar="NAME")
    selected = parser.parse_args().model
    rows = []
    for row in campaign(selected):
        print(_line(row), row.tracker.get("error", ""), flush=True)
        rows.append(row)
    if not selected:
        REPORT.parent.mkdir(exist_ok=True)
        REPORT.write_text(markdown(rows), encoding="utf-8")
    return 1 if any(row.failed for row in rows) else 0


if __name__ == "__main__":
    raise SystemExit(main())
