"""`memprof run`: run any command on a simulated GPU (a phantom)."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from memprof.cli import options
from memprof.cli.console import stderr
from memprof.errors import ConfigError
from memprof.gpus.catalog import GpuSpec, find_gpu
from memprof.gpus.phantom.run import CommandRun, end_like, run_command
from memprof.gpus.phantom.writes import Writes, WritesSummary, choose_writes
from memprof.units import format_bytes

EXAMPLES = """\
memprof run -- python train.py
memprof run --gpu t4 -- python train.py --epochs 1
memprof run --gpu h100-80gb:8 -- python train_data_parallel.py"""
CONTEXT_SETTINGS = {"allow_interspersed_args": False, "ignore_unknown_options": True}
_SEVERAL = re.compile(r"(?P<name>.+):(?P<count>\d+)")
_MOST = 16


def command(
    command: options.Command, gpu: options.SimulatedGpu = "h100-80gb", writes: options.CheckpointWrites = "keep"
) -> int:
    """Run a command on a simulated GPU."""
    return run(gpu, command, writes)


def run(gpu: str, command: Sequence[str], writes: str = "keep") -> int:
    """Run `command` on phantoms of `gpu`, print the peak to stderr, and end as the command ended."""
    choice = choose_writes(writes)
    several = _SEVERAL.fullmatch(gpu)
    spec = find_gpu(several["name"] if several else gpu)
    count = int(several["count"]) if several else 1
    if not 1 <= count <= _MOST:
        raise ConfigError(f"--gpu {gpu}: a run has 1 to {_MOST} phantom GPUs")
    ended = run_command(spec, command, count, choice, lambda: _print(_banner(spec, choice)))
    for line in (*(_kept(ended.writes) if ended.writes else ()), _peak(spec, ended, count)):
        _print(line)
    return end_like(ended.returncode)


def _print(line: str) -> None:
    stderr().print(f"memprof: {line}", soft_wrap=True)


def _banner(spec: GpuSpec, writes: Writes) -> str:
    checkpoints = "replace your files" if writes is Writes.ALLOW else "are kept apart from your files"
    return f"simulated {spec.name}: tensor values are zeros, checkpoints {checkpoints}"


def _kept(writes: WritesSummary) -> list[str]:
    lines = []
    if writes.files:
        sizes = f"{format_bytes(writes.size_bytes)}, {format_bytes(writes.disk_bytes)} on disk"
        where = f"kept out of {_near(writes.origin)}"
        after = "removed" if writes.folder is None else f"{writes.folder}"
        lines.append(f"{_count(writes.files, 'checkpoint file')} ({sizes}) {where}: {after}")
    if writes.undeleted:
        verb = "is" if writes.undeleted == 1 else "are"
        files = _count(writes.undeleted, "file")
        lines.append(f"{files} of older checkpoints that the command deleted {verb} still there")
    return lines


def _near(folder: Path) -> str:
    here = Path(os.path.realpath("."))
    if folder == here:
        return "."
    return f"./{folder.relative_to(here)}" if folder.is_relative_to(here) else str(folder)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"


def _peak(spec: GpuSpec, ended: CommandRun, count: int) -> str:
    name = f"{spec.name} ({spec.key}, phantom)"
    if ended.ledger is None or not any(ended.ledger.peak_bytes):
        return f"{name}: no GPU memory was used"
    assumed = " (assumed)" if "context_bytes" in spec.assumed else ""
    context = f"including {format_bytes(spec.context_bytes)}{assumed} for the CUDA context"
    peaks = [format_bytes(peak) for peak in ended.ledger.peak_bytes[:count]]
    unknown = ended.ledger.unknown_workspaces
    note = f"; {unknown} cuDNN workspaces are modelled or unknown" if unknown else ""
    return f"{name}: emulated peak of GPU memory {', '.join(peaks)}, {context}{note}"
