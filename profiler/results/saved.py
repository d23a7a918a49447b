"""A saved sweep read back: by folder, by a file in it, or by the config's name."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from profiler.errors import ResultError
from profiler.nearest import did_you_mean
from profiler.records import RunRecord
from profiler.results.lines import Manifest, from_line, parse

RECORDS_FILE, CSV_FILE, MANIFEST_FILE = "records.jsonl", "results.csv", "manifest.json"
_RUN_NAME = re.compile(r"(\d{8}-\d{6})(?:-(\d+))?")


@dataclass(frozen=True, kw_only=True)
class Result:
    """A sweep as it was saved, finished or not."""

    path: Path
    manifest: Manifest
    records: tuple[RunRecord, ...]


def load(place: str | Path, root: Path = Path("results")) -> Result:
    """Read a saved sweep: its folder, a file in it, or a config's name for the newest run under `root`.

    Raises:
        ResultError: there is none, it is not a result, or a newer memprof wrote it.
    """
    path = _find_run(Path(place), root)
    return Result(path=path, manifest=read_manifest(path), records=tuple(read_records(path)))


def _find_run(place: Path, root: Path) -> Path:
    if place.is_file():
        if place.name in (RECORDS_FILE, CSV_FILE, MANIFEST_FILE):
            return place.parent
        raise ResultError(f"{place} is not a result; give the folder that holds its {RECORDS_FILE}")
    if (place / MANIFEST_FILE).is_file():
        return place
    runs = [*find_runs(place), *find_runs(root / place)]
    with_rows = (run for run in runs if (run / RECORDS_FILE).is_file())
    newest = next(with_rows, runs[0] if runs else None)
    if newest is not None:
        return newest
    if place.is_dir():
        raise ResultError(f"{place} is not a result: it has no {MANIFEST_FILE}")
    names = sorted(folder.name for folder in root.iterdir() if find_runs(folder)) if root.is_dir() else []
    hint = did_you_mean(str(place), names) or f"; {root} has {', '.join(names) or 'none'}"
    raise ResultError(f"no result {place} here or in {root}{hint}")


def find_runs(folder: Path) -> list[Path]:
    """Return the runs in a config's folder, newest first."""
    matches = [(_RUN_NAME.fullmatch(path.name), path) for path in folder.iterdir()] if folder.is_dir() else []
    keyed = [((match[1], int(match[2] or 1)), path) for match, path in matches if match]
    return [path for _, path in sorted(keyed, reverse=True) if (path / MANIFEST_FILE).is_file()]


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError as error:
        raise ResultError(f"cannot read {path}: {error.strerror}") from None


def read_manifest(path: Path) -> Manifest:
    """Return the manifest of the run in `path`, or refuse it as `parse` does."""
    return parse(_read_text(path / MANIFEST_FILE), Manifest, str(path / MANIFEST_FILE))


def read_records(path: Path) -> list[RunRecord]:
    """Return the records of the run in `path`, less a last line that a crash cut short.

    Raises:
        ResultError: a whole line is not a record; the text names the line.
    """
    file = path / RECORDS_FILE
    if not file.is_file():
        return []
    lines = _read_text(file).split("\n")
    if not _is_json(lines[-1]):  # whole lines end in a newline: what follows the last one was cut off
        lines.pop()
    return [from_line(line, f"{file}, line {number}") for number, line in enumerate(lines, start=1)]


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
