"""The folder of a running sweep or comparison: written as the points come, so that a crash costs one point at most."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from memprof.errors import ResultError
from memprof.records import RunRecord
from memprof.results.files import make_run_folder, replace_file, write_manifest, writing
from memprof.results.load import CSV_FILE, RECORDS_FILE, Result, find_runs, read_manifest, read_records
from memprof.results.rows import to_csv
from memprof.results.serialize import Kind, Manifest, to_line, utc_now


class ResultFolder:
    """The folder that a running sweep or comparison writes to, locked against a second one until it is closed."""

    def __init__(self, path: Path, manifest: Manifest, records: Sequence[RunRecord], lock: int | None) -> None:
        self.path = path
        self.manifest = manifest
        self._records = list(records)
        self._lock = lock

    @classmethod
    def create(cls, root: Path, manifest: Manifest) -> ResultFolder:
        """Make ``root/<config name>/<UTC time>`` and write the manifest.

        Raises:
            ResultError: the folder cannot be made or written.
        """
        with writing(root):
            path = make_run_folder(root / manifest.name, manifest.started)
            folder = cls(path, manifest, (), _lock(path))
            write_manifest(path, manifest)
            replace_file(path / CSV_FILE, to_csv(()))
        return folder

    @property
    def records(self) -> tuple[RunRecord, ...]:
        """The records so far; in a resumed folder those of the earlier run too."""
        return tuple(self._records)

    def result(self) -> Result:
        """Return what is saved so far, as `load` would."""
        return Result(path=self.path, manifest=self.manifest, records=self.records)

    def append(self, record: RunRecord) -> None:
        """Write one record; when this returns, its line is on the disk.

        Raises:
            ResultError: it cannot be written, for instance because the disk is full.
        """
        with writing(self.path):
            with (self.path / RECORDS_FILE).open("ab") as file:
                file.write(f"{to_line(record)}\n".encode("utf-8", "replace"))
                file.flush()
                os.fsync(file.fileno())
            self._records.append(record)
            replace_file(self.path / CSV_FILE, to_csv(self._records))

    def finish(self) -> None:
        """Mark the sweep complete, so that the next one starts afresh, and close the folder."""
        self.manifest = replace(self.manifest, complete=True, finished=utc_now())
        with writing(self.path):
            write_manifest(self.path, self.manifest)
        self.close()

    def close(self) -> None:
        """Release the lock. A folder that was not finished can be resumed."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> ResultFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def find_unfinished(root: Path, name: str, fingerprint: str, kind: Kind = Kind.SWEEP) -> ResultFolder | None:
    """Return the newest run of `name` of this kind and fingerprint, locked and ready to go on.

    ``None`` where there is no such run, or it is complete, in use, damaged or not ours to write.
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
            if not folder.manifest.complete:  # else the other sweep ended between the look and the lock
                # Written anew, without the torn line that a crash may have left.
                replace_file(path / RECORDS_FILE, "".join(to_line(record) + "\n" for record in folder.records))
                replace_file(path / CSV_FILE, to_csv(folder.records))
                return folder
        except BaseException:
            os.close(lock)
            raise
        folder.close()
    return None


def _lock(path: Path) -> int | None:
    """Take the folder's lock and return its descriptor, or ``None`` where another process has it."""
    descriptor = os.open(path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    if sys.platform == "win32":
        return descriptor  # no flock there; what is lost is only the guard against a second sweep
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
