"""The answer of a command in one line: whether it fits, with how much of the memory."""

from __future__ import annotations

from collections.abc import Sequence

from memprof.experiments.run import SimulatedRun
from memprof.records import Source, Status
from memprof.report.labels import gpu_label
from memprof.units import format_bytes, format_share


def run_verdict(run: SimulatedRun) -> str:
    """Return whether a command fits on its phantom: ``fits: 14.40 of 15.56 GiB (93 %) on t4 (phantom)``."""
    spec, peak = run.asked.spec, run.peak_bytes
    name = gpu_label(spec.key, Source.EMULATED)
    if peak is None:
        return f"no GPU memory was used on {name}"
    used = format_share(peak, spec.total_bytes)
    if run.asked.devices > 1:
        name = f"GPU {run.device_peaks_bytes.index(peak)} of {run.asked.devices} × {name}"
    if run.status is Status.OOM:
        needs = f"the command needs more than {format_bytes(run.needed_bytes)}"
        return f"does not fit: {needs}, {spec.key} has {format_bytes(spec.total_bytes)} (phantom)"
    if run.status is Status.OK:
        return f"fits: {used} on {name}"
    return f"ended early ({ending(run)}): at least {used} on {name}"


def limit_verdict(run: SimulatedRun, limit_bytes: int) -> str | None:
    """Return a line about a peak above the limit of ``--max``; ``None`` if it is not above it."""
    if run.peak_bytes is None or run.peak_bytes <= limit_bytes:
        return None
    return f"above --max: device memory {format_bytes(run.peak_bytes)}, limit {format_bytes(limit_bytes)}"


def each_verdict(runs: Sequence[SimulatedRun]) -> str:
    """Return on how many GPUs a command fits: ``fits on 2 of 3 GPUs: l4, a10g``."""
    fitting = [run.asked.spec.key for run in runs if run.fits]
    return f"fits on {len(fitting)} of {len(runs)} GPUs{': ' if fitting else ''}{', '.join(fitting)}"


def ending(run: SimulatedRun) -> str:
    """Return how a command ended: ``exit status 1`` or ``signal 9``."""
    code = run.ended.returncode
    return f"signal {-code}" if code < 0 else f"exit status {code}"
