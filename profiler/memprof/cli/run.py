"""`memprof run`: any command on a phantom GPU."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from memprof.errors import ConfigError
from memprof.gpus.catalog import GpuSpec, find_gpu
from memprof.gpus.phantom.run import CommandRun, end_like, run_command
from memprof.units import format_bytes

_SEVERAL = re.compile(r"(?P<name>.+):(?P<count>\d+)")
_MOST = 16


def run(gpu: str, command: Sequence[str]) -> int:
    """Run `command` on phantoms of `gpu`, say the peak on stderr, and end as the command ended."""
    several = _SEVERAL.fullmatch(gpu)
    spec = find_gpu(several["name"] if several else gpu)
    count = int(several["count"]) if several else 1
    if not 1 <= count <= _MOST:
        raise ConfigError(f"--gpu {gpu}: a run has 1 to {_MOST} phantom GPUs")
    ended = run_command(spec, command, count)
    print(f"memprof: {_peak(spec, ended, count)}", file=sys.stderr, flush=True)
    return end_like(ended.returncode)


def _peak(spec: GpuSpec, ended: CommandRun, count: int) -> str:
    name = f"{spec.name} ({spec.key}, phantom)"
    if ended.ledger is None or not any(ended.ledger.peak_bytes):
        return f"{name}: no device memory was used"
    assumed = " assumed" if "context_bytes" in spec.assumed else ""
    context = f"with {format_bytes(spec.context_bytes)}{assumed} for the CUDA context"
    peaks = [format_bytes(peak) for peak in ended.ledger.peak_bytes[:count]]
    unknown = ended.ledger.unknown_workspaces
    note = f"; {unknown} cuDNN workspaces are modelled or unknown" if unknown else ""
    return f"{name}: emulated peak of device memory {', '.join(peaks)}, {context}{note}"
