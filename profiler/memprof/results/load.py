"""A saved result read back: by folder, by a file in it, or by the config's name."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from memprof.errors import ResultError, did_you_mean
from memprof.records import RunRecord
from memprof.results.serialize import ROW_KINDS, Kind, Manifest, from_line, parse

RECORDS_FILE, CSV_FILE = "records.jsonl", "results.csv"
ANSWER_FILE, MANIFEST_FILE = "answer.json", "manifest.json"
_RUN_NAME = re.compile(r"(\d{8}-\d{6})(?:-(\d+))?")


@dataclass(frozen=True, kw_only=True)
class Result:
    """A result as it was saved, finished or not. Of a kind that is one document, `load_answer` reads that."""

    path: Path
    manifest: Manifest
    records: tuple[RunRecord, ...]


def load(place: str | Path, root: Path = Path("results"), kinds: Collection[Kind] = ROW_KINDS) -> Result:
    """Read a saved result of one of `kinds`: its folder, a file in it, or a config's name for the newest under `root`.

    Raises:
        ResultError: there is none, it is of another kind or not a result, or a newer memprof wrote it.
    """
    path = _find_run(Path(place), root, kinds)
    manifest = read_manifest(path)
    if manifest.kind not in kinds:
        raise ResultError(f"{path} holds {manifest.kind.noun}; {_either(kinds)} is needed here")
    return Result(path=path, manifest=manifest, records=tuple(read_records(path)))


def load_alike(first: str | Path, second: str | Path, root: Path = Path("results")) -> tuple[Result, Result]:
    """Read two results that have rows, both of the first one's kind.

    Raises:
        ResultError: as `load` does for each.
    """
    one = load(first, root)
    return one, load(second, root, (one.manifest.kind,))


def _either(kinds: Collection[Kind]) -> str:
    return " or ".join(kind.noun for kind in kinds)


def _find_run(place: Path, root: Path, kinds: Collection[Kind]) -> Path:
    if place.is_file():
        if place.name in (RECORDS_FILE, CSV_FILE, ANSWER_FILE, MANIFEST_FILE):
            return place.parent
        raise ResultError(f"{place} is not a result; give the folder that holds its {MANIFEST_FILE}")
    if (place / MANIFEST_FILE).is_file():
        return place
    runs = [*find_runs(place), *find_runs(root / place)]
    newest = _newest(runs, kinds)
    if newest is not None:
        return newest
    if runs:
        there = " and ".join(dict.fromkeys(read_manifest(run).kind.noun for run in runs))
        raise ResultError(f"{place} has only {there}; {_either(kinds)} is needed here")
    if place.is_dir():
        raise ResultError(f"{place} is not a result: it has no {MANIFEST_FILE}")
    names = sorted(folder.name for folder in root.iterdir() if find_runs(folder)) if root.is_dir() else []
    hint = did_you_mean(str(place), names) or f"; {root} has {', '.join(names) or 'none'}"
    raise ResultError(f"no result {place} here or in {root}{hint}")


def _newest(runs: Sequence[Path], kinds: Collection[Kind]) -> Path | None:
    """Return the first run of `kinds` that has something to show, else the first of them."""
    filled = (run for run in runs if (run / RECORDS_FILE).is_file() or (run / ANSWER_FILE).is_file())
    of_kind = (run for some in (filled, runs) for run in some if read_manifest(run).kind in kinds)
    return next(of_kind, None)


def find_runs(folder: Path) -> list[Path]:
    """Return the runs in a config's folder, of every kind, newest first."""
    matches = [(_RUN_NAME.fullmatch(path.name), path) for path in folder.iterdir()] if folder.is_dir() else []
    keyed = [((match[1], int(match[2] or 1)), path) for match, path in matches if match]
    return [path for _, path in sorted(keyed, reverse=True) if (path / MANIFEST_FILE).is_file()]


def read_text(path: Path) -> str:
    """Return the text of a file, or refuse it in one line."""
    try:
        return path.read_text("utf-8", "replace")
    except OSError as error:
        raise ResultError(f"cannot read {path}: {error.strerror}") from None


def read_manifest(path: Path) -> Manifest:
    """Return the manifest of the run in `path`, or refuse it as `parse` does."""
    return parse(read_text(path / MANIFEST_FILE), Manifest, str(path / MANIFEST_FILE))


def read_records(path: Path) -> list[RunRecord]:
    """Return the records of the run in `path`, less a last line that a crash cut short.

    Raises:
        ResultError: a whole line is not a record; the text names the line.
    """
    file = path / RECORDS_FILE
    if not file.is_file():
        return []
    lines = read_text(file).split("\n")
    if not _is_json(lines[-1]):  # whole lines end in a newline: what follows the last one was cut off
        lines.pop()
    return [from_line(line, f"{file}, line {number}") for number, line in enumerate(lines, start=1)]


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
