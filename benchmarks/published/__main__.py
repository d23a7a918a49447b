"""`python -m benchmarks.published`: run what others published figures of, and write docs/published.md.

Each row is saved in rows.jsonl as soon as it is there. A row with the same command and versions is not run again, so
the command continues where it was stopped. `--only NAME`, which may be repeated, runs the sources or rows whose name
begins so; `--again` runs them although they are saved; `--page` runs nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.machine import describe_machine
from benchmarks.published.figures import Row, Source, read_figures
from benchmarks.published.page import Compared, markdown
from benchmarks.published.runs import Found, command_of, key, missing, read_rows, run_source, write_rows
from memprof.units import format_percent

PAGE = Path("docs", "published.md")


def pending(
    source: Source, saved: Mapping[str, Found], versions: str, only: Sequence[str], again: bool
) -> Iterator[Row]:
    """Yield the rows that have to run: those that were selected, can run, and have no result of these versions."""
    for row in source.rows:
        name = key(source, row)
        if row.not_run or (only and not name.startswith(tuple(only))):
            continue
        done = saved.get(name)
        same = done is not None and (done.command, done.versions) == (command_of(source, row), versions)
        if again or not same or (done is not None and done.error):
            yield row


def main() -> int:
    """Print a line for each row that runs, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.published", description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="a source, or source/row")
    parser.add_argument("--again", action="store_true", help="run rows that are saved, too")
    parser.add_argument("--page", action="store_true", help="only write the page from the saved rows")
    options = parser.parse_args()
    machine, sources = describe_machine(), read_figures()
    saved = read_rows()
    for source in [] if options.page else sources:
        rows = list(pending(source, saved, machine[-1], options.only, options.again))
        if rows and (packages := missing(source)):
            print(f"{source.name}: {len(rows)} rows need {', '.join(packages)}", file=sys.stderr)
            continue
        for found in run_source(source, rows, machine[-1]) if rows else ():
            saved[found.row] = found
            write_rows(saved)
            row = next(row for row in rows if key(source, row) == found.row)
            error = Compared(source=source, row=row, found=found).error
            print(found.row, row.figure, found.found_bytes, format_percent(error), found.error, flush=True)
    current = {key(source, row) for source in sources for row in source.rows}
    PAGE.write_text(markdown(sources, {name: saved[name] for name in saved if name in current}, machine), "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
