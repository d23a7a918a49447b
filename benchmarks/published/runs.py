"""Run the rows: each is a command of memprof in a process of its own, or a run of xMem's own loop."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.fidelity.stacks import Stack, StackProcess, open_process
from benchmarks.fidelity.truth import Run, read_runs
from benchmarks.json_lines import read_lines, write_lines
from benchmarks.published.figures import Row, Source, shown

ROWS = Path(__file__).with_name("rows.jsonl")
_MEMPROF = (sys.executable, "-m", "memprof")


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the runs of one row gave: one figure, or the smallest and the largest over the lengths."""

    row: str  # the source and the row
    command: str
    versions: str
    found_bytes: tuple[int, ...] = ()
    oom: bool = False
    error: str = ""


def key(source: Source, row: Row) -> str:
    """Return the name of a row among all sources."""
    return f"{source.name}/{row.name}"


def read_rows() -> dict[str, Found]:
    """Return the saved rows by their names."""
    lines = read_lines(ROWS)
    return {line["row"]: Found(**{**line, "found_bytes": tuple(line["found_bytes"])}) for line in lines}


def write_rows(rows: Mapping[str, Found]) -> None:
    """Replace the saved rows."""
    write_lines(ROWS, rows)


def missing(source: Source) -> list[str]:
    """Return the packages that the rows of a source need and that are not installed."""
    return [package for package in source.needs if importlib.util.find_spec(package) is None]


def command_of(source: Source, row: Row) -> str:
    """Return what a saved row must have come from; if it is another command, the row runs again."""
    if source.kind == "xmem":
        return f"xMem's loop: {row.name}"
    return " && ".join(shown(command) for command in source.commands(row))


def run_source(source: Source, rows: Sequence[Row], versions: str) -> Iterator[Found]:
    """Yield the result of each row as soon as it is there."""
    with ExitStack() as stack:
        process = stack.enter_context(open_process(Stack())) if source.kind == "xmem" else None
        for row in rows:
            same: dict[str, Any] = {"row": key(source, row), "command": command_of(source, row), "versions": versions}
            found: dict[str, Any]
            try:
                found = _loop(process, row) if process else _command(source, row)
            except RuntimeError as error:
                found = {"error": str(error)}
            yield Found(**same, **found)


def _loop(process: StackProcess, row: Row) -> dict[str, Any]:
    found = process.run("phantom", _run(row))
    if found["oom"]:
        return {"oom": True}
    return {"found_bytes": (found["reserved"],)}


def _run(row: Row) -> Run:
    return next(run for run in read_runs() if row.name == f"{run.model}, {run.optimizer}, {run.batch_size}, {run.gpu}")


def _command(source: Source, row: Row) -> dict[str, Any]:
    figures = [_figure(source, command) for command in source.commands(row)]
    if None in figures:
        return {"oom": True}
    sizes = sorted(figure for figure in figures if figure is not None)
    return {"found_bytes": (sizes[0], sizes[-1]) if len(sizes) > 1 else (sizes[0],)}


def _figure(source: Source, command: Sequence[str]) -> int | None:
    """Return the peak of a run; ``None`` if it ran out of memory."""
    with tempfile.TemporaryDirectory() as folder:
        if command[1] == "run":
            answer = Path(folder, "peak.json")
            split = command.index("--")
            _output((*command[1:split], "--json", str(answer), *command[split:]))
            return int(json.loads(answer.read_text(encoding="utf-8"))[source.counter])
        output = _output((*command[1:], "--output-dir", folder, "--force", "--json"))
    row = json.loads(output)["rows"][0]
    if row["status"] == "ok":
        return int(row[source.counter])
    if row["status"] == "oom":
        return None
    raise RuntimeError(f"{row['status']}: {row['error']}")


def _output(arguments: Sequence[str]) -> str:
    # `python` in a command is this one, also if its environment is not activated.
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    done = subprocess.run(
        [*_MEMPROF, *arguments], env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    if not done.stdout.startswith("{") and done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit {done.returncode}")
    return done.stdout
