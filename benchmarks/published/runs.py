"""Run the rows: each is a command of memprof in a process of its own, or a run of xMem's own loop."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.fidelity.stacks import Stack, StackProcess, open_process
from benchmarks.fidelity.truth import Run, read_runs
from benchmarks.json_lines import read_lines, write_lines
from benchmarks.published.environments import Environment
from benchmarks.published.figures import Row, Source, shown

ROWS = Path(__file__).with_name("rows.jsonl")


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the runs of one row gave: one figure, or the smallest and the largest over the lengths."""

    row: str  # the source and the row
    command: str
    files: str  # a hash of the config and of the model's Python file
    versions: str
    packages: str = ""  # of the source, with their versions
    day: str = ""  # on which it ran
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


def command_of(source: Source, row: Row) -> str:
    """Return what a saved row must have come from; if it is another command, the row runs again."""
    if source.kind == "xmem":
        return f"xMem's loop: {row.name}"
    return " && ".join(shown(command) for command in source.commands(row))


def files_of(source: Source, row: Row) -> str:
    """Return a hash of a row's config, and of the Python file next to it that the config names."""
    if source.kind == "xmem":
        return ""
    config = Path(row.config or source.config or "")
    text = config.read_text(encoding="utf-8")
    models = [file for file in sorted(config.parent.glob("*.py")) if f"{file.name}:" in text]
    return hashlib.sha256(b"\n".join(file.read_bytes() for file in (config, *models))).hexdigest()[:16]


def run_source(source: Source, rows: Sequence[Row], environment: Environment) -> Iterator[Found]:
    """Yield the result of each row as soon as it is there; a row that fails has its error."""
    with ExitStack() as stack:
        loop = stack.enter_context(_XmemLoop()) if source.kind == "xmem" else None
        for row in rows:
            found: dict[str, Any]
            try:
                found = loop.run(row) if loop else _command(source, row, environment.python)
            except (RuntimeError, OSError, ValueError, LookupError) as error:
                found = {"error": str(error) or type(error).__name__}
            yield Found(
                row=key(source, row),
                command=command_of(source, row),
                files=files_of(source, row),
                versions=environment.versions,
                packages=environment.packages,
                day=date.today().isoformat(),
                **found,
            )


class _XmemLoop(ExitStack):
    """The process that runs xMem's loop; after a run that failed, the next one gets a new process."""

    def __init__(self) -> None:
        super().__init__()
        self._process: StackProcess | None = None

    def run(self, row: Row) -> dict[str, Any]:
        """Return what a run reserved, or that it ran out of memory."""
        if self._process is None:
            self.close()
            self._process = self.enter_context(open_process(Stack()))
        process, self._process = self._process, None
        found = process.run("phantom", _run(row))
        self._process = process
        return {"oom": True} if found["oom"] else {"found_bytes": (found["reserved"],)}


def _run(row: Row) -> Run:
    return next(run for run in read_runs() if row.name == f"{run.model}, {run.optimizer}, {run.batch_size}, {run.gpu}")


def _command(source: Source, row: Row, python: str) -> dict[str, Any]:
    figures = [_figure(source, command, python) for command in source.commands(row)]
    if None in figures:
        return {"oom": True}
    sizes = sorted(figure for figure in figures if figure is not None)
    return {"found_bytes": (sizes[0], sizes[-1]) if len(sizes) > 1 else (sizes[0],)}


def _figure(source: Source, command: Sequence[str], python: str) -> int | None:
    """Return the peak of a run; ``None`` if it ran out of memory."""
    with tempfile.TemporaryDirectory() as folder:
        if command[1] == "run":
            answer = Path(folder, "peak.json")
            split = command.index("--")
            _output(python, (*command[1:split], "--json", str(answer), *command[split:]))
            return int(json.loads(answer.read_text(encoding="utf-8"))[source.counter])
        output = _output(python, (*command[1:], "--output-dir", folder, "--force", "--json"))
    row = json.loads(output)["rows"][0]
    if row["status"] == "ok":
        return int(row[source.counter])
    if row["status"] == "oom":
        return None
    raise RuntimeError(f"{row['status']}: {row['error']}")


def _output(python: str, arguments: Sequence[str]) -> str:
    # `python` in a command is this one, also if its environment is not activated.
    path = os.pathsep.join((str(Path(python).absolute().parent), os.environ.get("PATH", "")))
    done = subprocess.run(
        [python, "-m", "memprof", *arguments],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if not done.stdout.startswith("{") and done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit {done.returncode}")
    return done.stdout
