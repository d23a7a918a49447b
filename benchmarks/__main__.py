"""Run the benchmarks in the repository's root, print their figures and write them to results.md.

With `--only`, nothing is written unless `--output` names a file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from rich.console import Console

from benchmarks import attribution, batch_finders, commands, peers, phantom_speed, worker
from benchmarks.machine import describe_machine
from benchmarks.report import Section, markdown, table
from benchmarks.results import FIGURE_HEADINGS, PEAK_HEADINGS, SEARCH_HEADINGS, BatchSearch, Figure, ToolPeak

BENCHMARKS: Mapping[str, Callable[[int], Iterator[Figure]]] = {
    "mnist_mlp_sweep": commands.mnist_mlp_sweep,
    "warm_sweep": commands.warm_sweep,
    "resnet50_sweep": commands.resnet50_sweep,
    "help": commands.help_text,
    "training_step": peers.training_step,
    "batch_size": worker.batch_size,
    "host_memory": worker.host_memory,
    "explaining": attribution.explaining,
    "million_events": attribution.million_events,
    "bert_step": phantom_speed.bert_step,
    "compiled_resnet18": phantom_speed.compiled_resnet18,
}
PEERS = "peers"
BATCH_FINDERS = "batch_finders"
RESULTS = Path(__file__).with_name("results.md")
SEARCHES = Path(__file__).with_name("batch_finders.md")

NAMES = (*BENCHMARKS, PEERS, BATCH_FINDERS)


def main() -> int:
    """Run the selected benchmarks; the exit status is 1 if a goal is missed."""
    arguments = _arguments()
    figures: list[Figure] = []
    peaks: list[ToolPeak] = []
    searches: list[BatchSearch] = []
    for name in arguments.only or NAMES:
        with Console(stderr=True).status(name):
            if name == PEERS:
                peaks += peers.peers(arguments.repeats)
            elif name == BATCH_FINDERS:
                searches += batch_finders.batch_finders(arguments.repeats)
            else:
                figures += BENCHMARKS[name](arguments.repeats)
    machine, sections, found = describe_machine(), list(_sections(figures, peaks)), list(_searches(searches))
    Console().print(*machine, *map(table, [*sections, *found]), sep="\n", soft_wrap=True)
    if found:
        SEARCHES.write_text(markdown(machine, found, arguments.repeats), encoding="utf-8")
    file = arguments.output or (None if arguments.only else RESULTS)
    if file:
        file.write_text(markdown(machine, sections, arguments.repeats), encoding="utf-8")
    return 0 if all(figure.met for figure in figures) else 1


def _sections(figures: Sequence[Figure], peaks: Sequence[ToolPeak]) -> Iterator[Section]:
    if figures:
        rows = [figure.cells() for figure in figures]
        yield Section(title="Goals", headings=FIGURE_HEADINGS, rows=rows)
    for workload, group in groupby(peaks, key=lambda peak: peak.workload):
        rows = [peak.cells() for peak in group]
        yield Section(title=f"Peak of {workload}", headings=PEAK_HEADINGS, rows=rows)


def _searches(searches: Sequence[BatchSearch]) -> Iterator[Section]:
    for task, group in groupby(searches, key=lambda search: search.task):
        yield Section(title=task, headings=SEARCH_HEADINGS, rows=[search.cells() for search in group])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    about = f"one of {', '.join(NAMES)}; may be repeated; results.md is then not written"
    parser.add_argument("--only", action="append", choices=NAMES, metavar="NAME", help=about)
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="rounds of each comparison (default: 5)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the figures to this file, as Markdown")
    arguments = parser.parse_args()
    if arguments.repeats < 1:
        parser.error(f"--repeats {arguments.repeats}: must be at least 1")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
