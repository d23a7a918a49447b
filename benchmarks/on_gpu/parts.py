"""The parts of a session in their order: what each runs, for how long at most, and where its record goes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fidelity.real_gpus import read_models

PYTHON = (sys.executable, "-u")


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part. What its command prints is its record; it may use the seconds that earlier parts left over."""

    name: str
    seconds: int
    suffix: str
    command: Sequence[str]


def parts(gpu: str, record: Path) -> tuple[Part, ...]:
    """Return the parts for `gpu`: cuda:0, or the phantom of a dry run. `record` is where the first part saves.

    Together they have 12 minutes. The parts that no other machine can do come first.
    """
    here = ("--gpu", gpu)
    detection = [one.model for one in read_models() if one.family.endswith("detection")]
    selected = [word for model in detection for word in ("--model", model)]
    return (
        Part(name="verify", seconds=150, suffix="txt", command=_module("benchmarks.on_gpu.verify", *here, str(record))),
        Part(name="calibrate", seconds=40, suffix="json", command=_module("benchmarks.on_gpu.calibrate", *here)),
        Part(name="tests", seconds=120, suffix="txt", command=_module("pytest", "-m", "gpu", "-v", "-n", "0")),
        Part(name="detection", seconds=60, suffix="csv", command=_module("benchmarks.real_gpu", *here, *selected)),
        Part(name="cudnn", seconds=100, suffix="jsonl", command=_module("benchmarks.record_cudnn", *here)),
        Part(name="max-batch", seconds=120, suffix="jsonl", command=_module("benchmarks.on_gpu.max_batch", *here)),
        Part(name="wall-time", seconds=40, suffix="jsonl", command=_module("benchmarks.on_gpu.wall_time", *here)),
        Part(name="models", seconds=90, suffix="csv", command=_module("benchmarks.real_gpu", *here)),
    )


def _module(name: str, *arguments: str) -> tuple[str, ...]:
    return (*PYTHON, "-m", name, *arguments)
