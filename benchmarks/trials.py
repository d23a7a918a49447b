"""`python -m benchmarks.trials`: how many trials max-batch needs for each shipped config on five GPUs.

Each row is saved in benchmarks/trials.jsonl as soon as it is there, and a row of the same versions is not run again, so
the command continues where it was stopped. At the end it writes benchmarks/trials.md from the rows. `--config FILE`,
which may be repeated, runs only these; `--page` runs nothing.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.json_lines import read_lines, write_lines
from benchmarks.machine import describe_machine
from memprof.config.load import load
from memprof.errors import MemprofError
from memprof.experiments.max_batch.search import Limits, Target, find_max_batches
from memprof.experiments.session import open_session
from memprof.gpus.catalog import find_gpu
from memprof.gpus.select import phantom_device
from memprof.records import MaxBatch

GPUS = ("t4", "rtx-4090", "a100-40gb", "h100-80gb", "h200")
MOST_TRIALS = 5
ROWS, PAGE = Path("benchmarks", "trials.jsonl"), Path("benchmarks", "trials.md")


@dataclass(frozen=True, kw_only=True)
class Search:
    """What the search on one GPU found: 0 if not even the smallest batch trains."""

    largest_batch_size: int
    trials: int
    verified: bool
    stopped_by: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """The searches of one config by GPU; none if the config cannot be built, and `error` says why."""

    config: str
    versions: str
    searches: dict[str, Search] = field(default_factory=dict)
    error: str = ""


def run(config: Path, versions: str) -> Row:
    """Search the largest batch of a config on the five GPUs, each GPU alone: none begins where another ended."""
    loaded = load(config)
    devices = [phantom_device(find_gpu(gpu)) for gpu in GPUS]
    try:
        with open_session(loaded, devices[0]) as session:
            targets = [
                Target(config=loaded.config, optimizer=loaded.config.optimizers[0], device=device, extras=False)
                for device in devices
            ]
            answers = [answer for one in targets for answer in find_max_batches(session.engine, [one], Limits())]
    except MemprofError as error:
        return Row(config=str(config), versions=versions, error=str(error))
    return Row(config=str(config), versions=versions, searches={answer.gpu: _search(answer) for answer in answers})


def _search(answer: MaxBatch) -> Search:
    return Search(
        largest_batch_size=answer.largest_batch_size,
        trials=len(answer.trials),
        verified=answer.verified,
        stopped_by=answer.stopped_by.value,
    )


def shipped_configs() -> list[Path]:
    """Return the configs that need no dataset: those of models, not those of loops and of published figures."""
    return sorted([*Path("configs").glob("*.yaml"), *Path("configs", "hub").glob("*.yaml")])


def read_rows() -> dict[str, Row]:
    """Return the saved rows by config."""
    rows = read_lines(ROWS)
    for row in rows:
        row["searches"] = {gpu: Search(**found) for gpu, found in row["searches"].items()}
    return {row["config"]: Row(**row) for row in rows}


def write_rows(rows: dict[str, Row]) -> None:
    """Replace the saved rows, in the order of their names."""
    write_lines(ROWS, rows)


def markdown(rows: Sequence[Row], machine: Sequence[str], planned: int) -> str:
    """Return the page: how many searches needed how many trials, and a table of all."""
    searches = [search for row in rows for search in row.searches.values()]
    counts = Counter(search.trials for search in searches if search.largest_batch_size)
    within = sum(count for trials, count in counts.items() if trials <= MOST_TRIALS)
    missing = "" if len(rows) == planned else f" {planned - len(rows)} of {planned} configs have not run yet."
    return "\n".join(
        [
            "# Trials of max-batch",
            "",
            f"`python -m benchmarks.trials` wrote this page. {' '.join(machine)}",
            "",
            "A cell has the largest batch and the trials that found and proved it: it trains, and one sample more does "
            f"not. {within} of {counts.total()} searches needed at most {MOST_TRIALS} trials. The first optimizer of "
            f"each config is used, and each GPU is searched alone.{missing}",
            "",
            "| trials | searches |",
            "| ---: | ---: |",
            *(f"| {trials} | {count} |" for trials, count in sorted(counts.items())),
            "",
            f"| config | {' | '.join(GPUS)} |",
            f"| --- |{' ---: |' * len(GPUS)}",
            *(f"| {_short(row)} | {' | '.join(_cell(row.searches.get(gpu)) for gpu in GPUS)} |" for row in rows),
            "",
            *_notes(rows),
        ]
    )


def _cell(search: Search | None) -> str:
    if search is None:
        return "-"
    if not search.largest_batch_size:
        return "does not fit"
    mark = "" if search.stopped_by == "memory" else " *"
    return f"{search.largest_batch_size:,} ({search.trials}){mark}"


def _notes(rows: Sequence[Row]) -> Iterator[str]:
    if any(search.stopped_by != "memory" for row in rows for search in row.searches.values()):
        yield "\\* Another limit than memory: 32-bit indices, the grid of a kernel, or host memory."
        yield ""
    for row in rows:
        if row.error:
            yield f"- {_short(row)}: {row.error}"


def _short(row: Row) -> str:
    return str(Path(row.config).relative_to("configs").with_suffix(""))


def main() -> int:
    """Print a line for each config that runs, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trials", description=__doc__)
    parser.add_argument("--config", action="append", default=[], type=Path, metavar="FILE")
    parser.add_argument("--page", action="store_true", help="only write the page from the saved rows")
    options = parser.parse_args()
    machine, rows = describe_machine(), read_rows()
    for config in [] if options.page else options.config or shipped_configs():
        saved = rows.get(str(config))
        if options.config or saved is None or saved.error or saved.versions != machine[-1]:
            rows[str(config)] = row = run(config, machine[-1])
            write_rows(rows)
            print(_short(row), *(_cell(row.searches.get(gpu)) for gpu in GPUS), row.error, flush=True)
    page = markdown([row for _, row in sorted(rows.items())], machine, len(shipped_configs()))
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
