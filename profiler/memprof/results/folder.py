"""The folder of a running sweep or comparison: each point is saved when it finishes, and a stopped run can resume."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from memprof.errors import ResultError
from memprof.records import RunRecord
from memprof.results.files import LineFile, remove_left_over, replace_file, write_manifest, writing
from memprof.results.load import CSV_FILE, RECORDS_FILE, Result, find_runs, read_manifest, read_records
from memprof.results.new_folder import new_run_folder
from memprof.results.rows import columns_with, to_csv, to_csv_lines
from memprof.results.serialize import Kind, Manifest, to_line, utc_now


class ResultFolder:
    """The folder that a running sweep or comparison writes to; it is locked against a second one until it is closed.

    `records.jsonl` grows by a line per point. `results.csv`, which is derived from it, grows along and is written anew
    when the run resumes or finishes.
    """

    def __init__(self, path: Path, manifest: Manifest, records: Sequence[RunRecord], lock: int | None) -> None:
        self.path = path
        self.manifest = manifest
        self._records = list(records)
        self._lock = lock
        self._record_lines = LineFile(path / RECORDS_FILE)
        self._csv_lines = LineFile(path / CSV_FILE, synced=False)
        self._columns = columns_with(compared=manifest.kind is Kind.COMPARE, parallel=_has_ranks(manifest))

    @classmethod
    def create(cls, root: Path, manifest: Manifest) -> ResultFolder:
        """Create ``root/<config name>/<UTC time>`` and write the manifest.

        Raises:
            ResultError: the folder cannot be created or written.
        """
        with writing(root), new_run_folder(root, manifest.name, manifest.started) as path:
            folder = cls(path, manifest, (), _lock(path))
            try:
                folder.rewrite_csv()
                write_manifest(path, manifest)  # last: from then on the folder counts as a result
            except BaseException:
                folder.close()
                raise
        return folder

    @property
    def records(self) -> tuple[RunRecord, ...]:
        """The records so far; in a resumed folder also those of the earlier run."""
        return tuple(self._records)

    def result(self) -> Result:
        """Return what is saved so far, as `load` would."""
        return Result(path=self.path, manifest=self.manifest, records=self.records)

    def append(self, record: RunRecord) -> None:
        """Save one record; when this returns, the record survives the death of this process (`kill -9`).

        A power failure costs at most the records of the last second; see `LineFile`.

        Raises:
            ResultError: the record cannot be written, for example because the disk is full.
        """
        with writing(self.path):
            self._record_lines.append(f"{to_line(record)}\n")
            self._records.append(record)
            self._csv_lines.append(to_csv_lines([record], self._columns))

    def finish(self, place_of: Callable[[RunRecord], int] | None = None) -> None:
        """Mark the run complete, so that the next one starts over, and close the folder.

        `place_of` gives the place of each row, since they may have come in any order.

        Raises:
            ResultError: the folder cannot be written.
        """
        with writing(self.path):
            self._record_lines.sync()
            if place_of is not None:
                self._sort(place_of)
            self.rewrite_csv()
            self.manifest = replace(self.manifest, complete=True, finished=utc_now())
            write_manifest(self.path, self.manifest)
        self.close()

    def _sort(self, place_of: Callable[[RunRecord], int]) -> None:
        found = sorted(self._records, key=place_of)
        if found != self._records:
            self._records = found
            replace_file(self.path / RECORDS_FILE, "".join(to_line(record) + "\n" for record in found))

    def rewrite_csv(self) -> None:
        """Derive `results.csv` from the records."""
        replace_file(self.path / CSV_FILE, to_csv(self._records, self._columns))

    def close(self) -> None:
        """Sync the records and release the lock. A folder that was not finished can be resumed."""
        if self._lock is not None:
            try:
                with writing(self.path):
                    self._record_lines.sync()
            finally:
                os.close(self._lock)
                self._lock = None

    def __enter__(self) -> ResultFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def find_unfinished(root: Path, name: str, fingerprint: str, kind: Kind = Kind.SWEEP) -> ResultFolder | None:
    """Return the newest run of `name` with this kind and fingerprint, locked and ready to continue.

    ``None`` if there is no such run, or it is complete, in use, damaged or not writable.
    """
    for path in find_runs(root / name):
        try:
            manifest = read_manifest(path)
            if (manifest.kind, manifest.fingerprint) == (kind, fingerprint):
                return None if manifest.complete else _resume(path)
        except ResultError:
            continue
    return None


def _resume(path: Path) -> ResultFolder | None:
    with writing(path):
        lock = _lock(path)
        if lock is None:
            return None
        try:
            folder = ResultFolder(path, read_manifest(path), read_records(path), lock)
            if not folder.manifest.complete:  # otherwise the other run finished before this one had the lock
                remove_left_over(path)
                # A crash may have left half a line at the end.
                replace_file(path / RECORDS_FILE, "".join(to_line(record) + "\n" for record in folder.records))
                folder.rewrite_csv()
                return folder
        except BaseException:
            os.close(lock)
            raise
        folder.close()
    return None


def _lock(path: Path) -> int | None:
    """Take the folder's lock and return its descriptor, or ``None`` if another process has it."""
    descriptor = os.open(path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    if sys.platform == "win32":
        return descriptor  # without flock only the guard against a second run is missing
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _has_ranks(manifest: Manifest) -> bool:
    """Return whether one of the configs is that of several ranks."""
    configs = (manifest.config, *(variant.config for variant in manifest.variants))
    return any(config.get("parallel") is not None for config in configs)
