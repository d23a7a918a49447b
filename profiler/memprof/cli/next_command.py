"""The last line of an answer: the command that is likely to be wanted next, made of the arguments of this one."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from memprof.experiments.run import SimulatedRun, larger_gpus
from memprof.records import Status

_SNAPSHOT = "peak.pickle"


def after_run(run: SimulatedRun, snapshot: Path | None) -> str | None:
    """Return what follows a run: larger GPUs if it did not fit, else what its peak consists of."""
    spec = run.asked.spec
    if run.peak_bytes is None:
        return None
    if run.status is Status.OOM and run.needed_bytes is not None:
        larger = larger_gpus(spec, run.needed_bytes)
        return _run_words(["--fits", ",".join(larger)], run.asked.command) if larger else None
    if snapshot is not None:
        return shlex.join(["memprof", "explain", str(snapshot)]) if run.ended.snapshot_pid else None
    gpu = f"{spec.key}:{run.asked.devices}" if run.asked.devices > 1 else spec.key
    return _run_words(["--gpu", gpu, "--snapshot", _SNAPSHOT], run.asked.command)


def after_runs(runs: Sequence[SimulatedRun]) -> str | None:
    """Return what follows runs on several GPUs: the smallest on which the command fits, else larger ones."""
    fitting = [run for run in runs if run.fits]
    if fitting:
        smallest = min(fitting, key=lambda run: run.asked.spec.total_bytes)
        return _run_words(["--gpu", smallest.asked.spec.key, "--snapshot", _SNAPSHOT], smallest.asked.command)
    refused = [run for run in runs if run.status is Status.OOM]
    return after_run(max(refused, key=lambda run: run.asked.spec.total_bytes), None) if refused else None


def _run_words(options: Sequence[str], command: Sequence[str]) -> str:
    return shlex.join(["memprof", "run", *options, "--", *command])
