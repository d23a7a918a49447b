"""`memprof run`: run any command on a simulated GPU (a phantom)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from memprof.cli import options
from memprof.cli.console import stderr
from memprof.errors import ConfigError
from memprof.gpus.catalog import GpuSpec, find_gpu
from memprof.gpus.phantom.run import CommandRun, end_like, run_command
from memprof.units import format_bytes

EXAMPLES = """\
memprof run -- python train.py
memprof run --gpu t4 -- python train.py --epochs 1
memprof run --gpu h100-80gb:8 -- torchrun --nproc-per-node 8 train.py"""
CONTEXT_SETTINGS = {"allow_interspersed_args": False, "ignore_unknown_options": True}
_SEVERAL = re.compile(r"(?P<name>.+):(?P<count>\d+)")
_MOST = 16


def command(command: options.Command, gpu: options.SimulatedGpu = "h100-80gb") -> int:
    """Run a command on a simulated GPU."""
    return run(gpu, command)


def run(gpu: str, command: Sequence[str]) -> int:
    """Run `command` on phantoms of `gpu`, print the peak to stderr, and end as the command ended."""
    several = _SEVERAL.fullmatch(gpu)
    spec = find_gpu(several["name"] if several else gpu)
    count = int(several["count"]) if several else 1
    if not 1 <= count <= _MOST:
        raise ConfigError(f"--gpu {gpu}: a run has 1 to {_MOST} phantom GPUs")
    ended = run_command(spec, command, count)
    stderr().print(f"memprof: {_peak(spec, ended, count)}", soft_wrap=True)
    return end_like(ended.returncode)


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
