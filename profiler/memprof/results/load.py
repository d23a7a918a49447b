"""Load a saved result: by its folder, by a file in it, or by the config's name."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from memprof.errors import DATA_ERRORS, ResultError, did_you_mean
from memprof.records import RunRecord
from memprof.results.reading import read_text, reading
from memprof.results.rows import RowName, name_of
from memprof.results.serialize import ROW_KINDS, Kind, Manifest, from_line, parse

RECORDS_FILE, CSV_FILE = "records.jsonl", "results.csv"
DOCUMENT_FILE, MANIFEST_FILE = "result.json", "manifest.json"
_RUN_NAME = re.compile(r"([0-9]{8}-[0-9]{6})(?:-([0-9]{1,9}))?")
_CLOCK_SKEW = timedelta(days=1)  # far above what the clocks of machines that share a folder differ by


@dataclass(frozen=True, kw_only=True)
class Result:
    """A result as it was saved, finished or not. If its kind is one document, `load_document` reads that."""

    path: Path
    manifest: Manifest
    records: tuple[RunRecord, ...]


def load(place: str | Path, root: Path = Path("results"), kinds: Collection[Kind] = ROW_KINDS) -> Result:
    """Load a saved result of one of `kinds`.

    Args:
        place: its folder, a file in that folder, or a config's name, which means the newest run under `root`.
        root: the folder of all results.
        kinds: the kinds that the caller can use.

    Raises:
        ResultError: there is no result, it has another kind, it is damaged, or another version of memprof wrote it.
    """
    with reading(Path(place)):
        path = _find_run(Path(place), root, kinds)
    manifest = read_manifest(path)
    if manifest.kind not in kinds:
        raise ResultError(f"{path} holds {manifest.kind.noun}; {_either(kinds)} is needed here")
    return Result(path=path, manifest=manifest, records=tuple(read_records(path)))


def load_pair(first: str | Path, second: str | Path, root: Path = Path("results")) -> tuple[Result, Result]:
    """Load two results that have rows, both of the first one's kind.

    Raises:
        ResultError: as `load` does for each, or both are the same result.
    """
    one = load(first, root)
    other = load(second, root, (one.manifest.kind,))
    if one.path.resolve() == other.path.resolve():
        raise ResultError(
            f"{first} and {second} are the same result, {one.path}; name an older one by its folder, "
            f"as `ls {one.path.parent}` lists them"
        )
    return one, other


def _either(kinds: Collection[Kind]) -> str:
    return " or ".join(kind.noun for kind in kinds)


def _find_run(place: Path, root: Path, kinds: Collection[Kind]) -> Path:
    if place.is_file():
        if place.name in (RECORDS_FILE, CSV_FILE, DOCUMENT_FILE, MANIFEST_FILE):
            return place.parent
        raise ResultError(f"{place} is not a result; give the folder that holds its {MANIFEST_FILE}")
    if (place / MANIFEST_FILE).is_file():
        return place
    runs = [*find_runs(place), *find_runs(root / place)]
    newest = _newest(runs, kinds)
    if newest is not None:
        return newest
    if runs:
        available = " and ".join(dict.fromkeys(read_manifest(run).kind.noun for run in runs))
        raise ResultError(f"{place} has only {available}; {_either(kinds)} is needed here")
    if place.is_dir():
        raise ResultError(f"{place} is not a result: it has no {MANIFEST_FILE}")
    names = sorted(folder.name for folder in root.iterdir() if find_runs(folder)) if root.is_dir() else []
    hint = did_you_mean(str(place), names) or f"; {root} has {', '.join(names) or 'none'}"
    raise ResultError(f"no result {place} here or in {root}{hint}")


def _newest(runs: Sequence[Path], kinds: Collection[Kind]) -> Path | None:
    """Return the first run of `kinds` that has something to show, otherwise the first of them."""
    filled = (run for run in runs if (run / RECORDS_FILE).is_file() or (run / DOCUMENT_FILE).is_file())
    of_kind = (run for candidates in (filled, runs) for run in candidates if read_manifest(run).kind in kinds)
    return next(of_kind, None)


def find_runs(folder: Path) -> list[Path]:
    """Return the runs of every kind in a config's folder, newest first.

    Runs that are dated in the future come last: how old they are is unknown, and they would hide all later ones.

    Raises:
        ResultError: the folder cannot be read.
    """
    latest = (datetime.now(UTC) + _CLOCK_SKEW).strftime("%Y%m%d-%H%M%S")
    with reading(folder):
        matches = [(_RUN_NAME.fullmatch(path.name), path) for path in folder.iterdir()] if folder.is_dir() else []
        keyed = [((match[1] <= latest, match[1], int(match[2] or 1)), path) for match, path in matches if match]
        return [path for _, path in sorted(keyed, reverse=True) if (path / MANIFEST_FILE).is_file()]


def read_manifest(path: Path) -> Manifest:
    """Return the manifest of the run in `path`.

    Raises:
        ResultError: it cannot be read, or is not a manifest of this version.
    """
    return parse(read_text(path / MANIFEST_FILE), Manifest, str(path / MANIFEST_FILE))


def read_records(path: Path) -> list[RunRecord]:
    """Return the records of the run in `path`; half a line at the end, which a crash leaves, is dropped.

    Raises:
        ResultError: a whole line is not a record, or repeats the point of another; the text names the line.
    """
    file = path / RECORDS_FILE
    with reading(file):
        if not file.exists():
            return []
    lines = read_text(file).split("\n")
    if not _is_json(lines[-1]):  # a whole line ends in a newline: what follows the last newline was cut off
        lines.pop()
    records = [from_line(line, f"{file}, line {number}") for number, line in enumerate(lines, start=1)]
    _refuse_repeated(records, file)
    return records


def _refuse_repeated(records: Sequence[RunRecord], file: Path) -> None:
    lines: dict[RowName, int] = {}
    for number, record in enumerate(records, start=1):
        first = lines.setdefault(name_of(record), number)
        if first != number:
            raise ResultError(f"{file}, line {number}: repeats the point of line {first}; delete one of them")


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except DATA_ERRORS:
        return False
    return True
