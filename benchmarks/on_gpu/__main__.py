"""`python -m benchmarks.on_gpu`: everything that a session with a real GPU records, in at most 12 minutes.

The records go into a new folder under docs/fidelity. Each part writes while it runs, so a session that is cut off
leaves what it had. `--gpu NAME` names a phantom for a dry run, `--seconds N` allows less time, `--only PART`, which may
be repeated, selects parts.

Detection models depend on values. Afterwards, `python -m benchmarks.values FOLDER/detection.csv` compares their record
with a phantom whose values the CPU computes; that needs no GPU.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from benchmarks.on_gpu.parts import parts
from benchmarks.on_gpu.session import fresh_folder, run
from memprof.errors import DeviceError
from memprof.experiments.verify import phantom_of
from memprof.gpus.select import choose_device
from memprof.records import Source

SECONDS = 12 * 60


def main() -> int:
    """Run the parts, and print how each ended; the exit status is 4 without a GPU, and 6 if a part failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.on_gpu", description=__doc__)
    parser.add_argument("--gpu", default="cuda:0", metavar="NAME")
    parser.add_argument("--seconds", default=SECONDS, type=float, metavar="N")
    parser.add_argument("--only", action="append", default=[], metavar="PART")
    parser.add_argument("--output", default=Path("docs", "fidelity"), type=Path, metavar="FOLDER")
    options = parser.parse_args()
    started = time.monotonic()
    try:
        device = choose_device(options.gpu)
        phantom_of(device)  # the libraries of the phantom are built before the parts need them
    except DeviceError as error:
        print(f"on_gpu: {error}", file=sys.stderr)
        return 4
    name = device.name.lower().replace(" ", "-")
    folder = fresh_folder(options.output, name if device.source is Source.MEASURED else f"phantom-{name}")
    every = parts(options.gpu, folder)
    if unknown := set(options.only) - {part.name for part in every}:
        print(f"on_gpu: there is no part {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    selected = [part for part in every if not options.only or part.name in options.only]
    left = options.seconds - (time.monotonic() - started)
    failed, record = False, None
    for ended in run(selected, left, lambda part: folder / f"{part.name}.{part.suffix}", time.monotonic):
        print(f"{ended.name:10} {ended.seconds:6.1f} s  {ended.how:12}  {ended.record}", flush=True)
        failed = failed or ended.how.startswith("exit")
        if ended.name == "detection":
            record = ended.record
    if record is not None:  # a phantom takes minutes for each model, and needs no GPU
        print(f"on_gpu: afterwards, on any machine: python -m benchmarks.values {record}", file=sys.stderr)
    return 6 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
