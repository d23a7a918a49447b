"""`python -m benchmarks.published`: run what others published figures of, and write docs/published.md.

Each row is saved in rows.jsonl as soon as it is there. A row with the same command, config and versions is not run
again, so the command continues where it was stopped. A row that fails is reported, and the next ones run. `--only
NAME`, which may be repeated, runs the sources or rows whose name begins so; `--again` runs them although they are
saved; `--page` runs nothing. `--python FILE` is another interpreter, for the sources whose packages this one does not
have. The exit status is 1 if a row failed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

from benchmarks.published.environments import Environment, choose
from benchmarks.published.figures import Row, Source, read_figures
from benchmarks.published.page import Compared, markdown
from benchmarks.published.runs import Found, command_of, files_of, key, read_rows, run_source, write_rows
from memprof.units import format_bytes, format_percent

PAGE = Path("docs", "published.md")


def selected(source: Source, only: Sequence[str]) -> list[Row]:
    """Return the rows of a source that can run and whose name begins as one of `only`; all of them without it."""
    return [row for row in source.rows if not row.not_run and (not only or key(source, row).startswith(tuple(only)))]


def pending(source: Source, rows: Sequence[Row], saved: Mapping[str, Found], environment: Environment) -> Iterator[Row]:
    """Yield the rows that have no result of the same command and versions, or an error."""
    for row in rows:
        done = saved.get(key(source, row))
        now = command_of(source, row), files_of(source, row), environment.versions, environment.packages
        if done is None or done.error or (done.command, done.files, done.versions, done.packages) != now:
            yield row


def run(sources: Sequence[Source], saved: dict[str, Found], options: argparse.Namespace) -> list[str]:
    """Run what is pending, save each row in `saved` and in its file, and return the errors."""
    errors = []
    for source in sources:
        if not (rows := selected(source, options.only)):
            continue
        environment = choose(source.needs, [sys.executable, *options.python])
        if environment.missing:
            print(f"{source.name}: {len(rows)} rows need {', '.join(environment.missing)}", file=sys.stderr)
            continue
        rows = rows if options.again else list(pending(source, rows, saved, environment))
        started = time.monotonic()
        for found in run_source(source, rows, environment):
            saved[found.row] = found
            write_rows(saved)
            print(_line(source, found), f"{time.monotonic() - started:.0f} s", flush=True)
            started = time.monotonic()
            errors += [f"{found.row} failed: {found.error}"] if found.error else []
    return errors


def _line(source: Source, found: Found) -> str:
    row = next(row for row in source.rows if key(source, row) == found.row)
    error = Compared(source=source, row=row, found=found).error
    ours = "out of memory" if found.oom else " to ".join(f"{size:,}" for size in found.found_bytes)
    percent = "" if error is None else f" ({format_percent(error)})"
    return f"{found.row}: published {row.figure}, ours {found.error or ours}{percent},"


def main() -> int:
    """Print a line for each row that runs, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.published", description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="a source, or source/row")
    parser.add_argument("--again", action="store_true", help="run rows that are saved, too")
    parser.add_argument("--page", action="store_true", help="only write the page from the saved rows")
    parser.add_argument("--python", action="append", default=[], metavar="FILE", help="another interpreter")
    options = parser.parse_args()
    started, sources, saved = time.monotonic(), read_figures(), read_rows()
    errors = [] if options.page else run(sources, saved, options)
    current = {key(source, row) for source in sources for row in source.rows}
    PAGE.write_text(markdown(sources, {name: saved[name] for name in saved if name in current}), "utf-8")
    usage = getrusage(RUSAGE_CHILDREN)
    print(
        f"{time.monotonic() - started:.0f} s, {usage.ru_utime + usage.ru_stime:.0f} s of CPU, "
        f"the largest process had {format_bytes(usage.ru_maxrss * 1024)}"
    )
    for error in errors:
        print(error, file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    raise SystemExit(main())
