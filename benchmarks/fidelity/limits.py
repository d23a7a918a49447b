"""Run xMem's programs on the phantom with the limits of its verification: `python -m benchmarks.fidelity.limits`.

After the first run, xMem's authors ran each program again with a limit for PyTorch's memory: once for each tool, of the
size that the tool predicted. xMem's limit follows in the process of the first run. DNNMem's is the first in a second
process, and SchedTune's follows there. The phantom does the same, and the peaks are saved in limits.json.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from benchmarks.fidelity.collect import print_progress
from benchmarks.fidelity.stacks import Stack, StackProcess, open_process
from benchmarks.fidelity.truth import LimitedRun, read_limited

FOUND = Path(__file__).with_name("limits.json")
_PROCESSES = (("", "xMem"), ("DNNMem", "SchedTune"))  # whose limits, in the order of the runs of a process


@dataclass(frozen=True, kw_only=True)
class Limited:
    """The highest reserved bytes of each run of one program, by whose limit it has; ``None`` if memory ran out."""

    reserved_bytes: Mapping[str, int | None]


@dataclass(frozen=True, kw_only=True)
class LimitedRuns:
    """The runs of all programs on the phantom, in the order of the published ones, and their versions."""

    torch: str
    cudnn: str
    programs: tuple[Limited, ...]


def main() -> int:
    """Run everything, and save the peaks."""
    programs = read_limited()
    with open_process(Stack()) as process:
        versions = process.versions()
        found = tuple(_run(process, runs) for runs in programs)
    saved = LimitedRuns(torch=versions["torch"], cudnn=versions["cudnn"], programs=found)
    FOUND.write_text(json.dumps(asdict(saved), indent=1) + "\n", encoding="utf-8")
    return 0


def read_found(file: Path = FOUND) -> LimitedRuns:
    """Return what the phantom needed."""
    found: LimitedRuns = TypeAdapter(LimitedRuns).validate_json(file.read_text(encoding="utf-8"))
    return found


def _run(process: StackProcess, runs: Sequence[LimitedRun]) -> Limited:
    print_progress(f"{runs[0].run.model}, {runs[0].run.optimizer}, {runs[0].run.batch_size}")
    fractions = {limited.limit_of: limited.fraction for limited in runs}
    reserved: dict[str, int | None] = {}
    for names in _PROCESSES:
        peaks = process.limited(runs[0].run, [fractions[name] for name in names])
        reserved.update(zip(names, peaks, strict=True))
    return Limited(reserved_bytes=reserved)


if __name__ == "__main__":
    sys.exit(main())
