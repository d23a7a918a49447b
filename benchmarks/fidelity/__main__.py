"""`python -m benchmarks.fidelity [--cudnn FOLDER] [--python FILE]`: write docs/fidelity.md.

The figures of a run are saved in latest.json; `--page` writes the page from that file.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter

from benchmarks.fidelity.collect import Collected, collect, print_progress
from benchmarks.fidelity.page import page
from benchmarks.fidelity.stacks import Stack
from benchmarks.fidelity.truth import FOLDER, read_attention
from memprof.errors import ResultError
from memprof.experiments.verify import Verification, load_verification
from memprof.records import Source

LATEST = Path(__file__).with_name("latest.json")


def main() -> int:
    """Run everything and write the page."""
    arguments = _arguments()
    found = read(LATEST) if arguments.page else _collect(arguments)
    FOLDER.with_suffix(".md").write_text(page(found, read_attention(), records(FOLDER)), encoding="utf-8")
    return 0


def _collect(arguments: argparse.Namespace) -> Collected:
    stacks = [
        Stack(),
        *(Stack(cudnn_folder=folder.resolve()) for folder in arguments.cudnn),
        *(Stack(python=python) for python in arguments.python),
    ]
    found = collect(stacks, print_progress)
    LATEST.write_text(json.dumps(asdict(found), indent=1) + "\n", encoding="utf-8")
    return found


def read(file: Path) -> Collected:
    """Return the figures of an earlier run."""
    found: Collected = TypeAdapter(Collected).validate_json(file.read_text(encoding="utf-8"))
    return found


def records(folder: Path) -> list[Verification]:
    """Return the records of real GPUs in `folder`, sorted by file name.

    Raises:
        ResultError: a file is not a record, or its real GPU was not measured.
    """
    found = []
    for file in sorted(folder.glob("*.json")):
        record = load_verification(file)
        if record.gpu.source is not Source.MEASURED:
            raise ResultError(f"{file}: its GPU is {record.gpu.source.value}, not measured")
        found.append(record)
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fidelity", description=__doc__)
    about = "also run with the libcudnn.so.9 in this folder (nvidia/cudnn/lib of an unpacked wheel); may be repeated"
    parser.add_argument("--cudnn", action="append", default=[], type=Path, metavar="FOLDER", help=about)
    about = "also run with this interpreter, which has another torch; may be repeated"
    parser.add_argument("--python", action="append", default=[], metavar="FILE", help=about)
    parser.add_argument("--page", action="store_true", help="run nothing and write the page from latest.json")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
