"""`make reliability`: run the campaigns, save their figures, and write docs/reliability.md.

`python -m tests.reliability --only kills --kills 20` runs one of them; `--page` writes the page from the saved figures.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.reliability import parts
from tests.reliability.page import FIGURES, save_figures, write_page

PARTS: Mapping[str, Callable[[Path, argparse.Namespace], dict[str, Any]]] = {
    "fuzz": lambda folder, chosen: parts.fuzz(folder, chosen.cases, chosen.seed),
    "storage": lambda folder, _: parts.storage(folder),
    "commands": lambda folder, chosen: parts.commands(folder, chosen.every),
    "kills": lambda folder, chosen: parts.kills(folder, chosen.kills, chosen.seed, chosen.minutes),
    "twins": lambda folder, chosen: parts.twins(folder, chosen.twins),
    "checkpoints": lambda folder, _: parts.checkpoints(folder),
}


def main() -> int:
    """Run the chosen parts, and write the page; the exit status is 1 if one has found a problem."""
    chosen = _arguments()
    found = 0
    for name in () if chosen.page else chosen.only or PARTS:
        print(name, flush=True)  # noqa: T201  progress
        with tempfile.TemporaryDirectory(prefix="memprof-", ignore_cleanup_errors=True) as folder:
            figures = PARTS[name](Path(os.path.realpath(folder)), chosen)
        save_figures(name, figures)
        for problem in figures["problems"]:
            print(f"  {problem}", flush=True)  # noqa: T201
        found += len(figures["problems"])
    if all((FIGURES / f"{name}.json").exists() for name in PARTS):
        write_page()
    return 1 if found else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, metavar="PART", help=f"one of {', '.join(PARTS)}")
    parser.add_argument("--cases", type=int, default=10_000, help="of the fuzzer")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--twins", type=int, default=5, help="pairs of sweeps at the same time")
    parser.add_argument("--minutes", type=float, default=math.inf, help="the longest time for kills")
    parser.add_argument("--every", type=int, default=1, help="let only every n-th call of the commands fail")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--page", action="store_true", help="only write the page")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
