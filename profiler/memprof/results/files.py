"""Write files of results: a new folder per run, whole files in one step, and lines that are whole or absent."""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from memprof.errors import ResultError
from memprof.results.load import MANIFEST_FILE
from memprof.results.reading import open_without_waiting
from memprof.results.serialize import Manifest

# A killed process loses nothing that it wrote, because the kernel has it; only a power failure or a kernel crash does.
# A second limits that loss, and a sweep with points of a few milliseconds does not wait for each fsync (0.1 to 10 ms).
_SYNC_SECONDS = 1.0


def check_output_folder(root: Path) -> None:
    """Check before a run that results can be written below `root`, and leave nothing there.

    Raises:
        ResultError: they cannot.
    """
    missing = [folder for folder in (root, *root.parents) if not os.path.lexists(folder)]
    with writing(root):
        root.mkdir(parents=True, exist_ok=True)
        try:
            Path(tempfile.mkdtemp(prefix=".check-", dir=root)).rmdir()
        finally:
            with suppress(OSError):  # another run has already put its results there
                for folder in missing:
                    folder.rmdir()


def make_run_folder(parent: Path, started: str) -> Path:
    """Create and return the folder of a run; runs that start in the same second get a number after the time."""
    started_at = re.sub(r"[-:Z]", "", started).replace("T", "-")
    number = 1
    while True:
        path = parent / (started_at if number == 1 else f"{started_at}-{number}")
        parent.mkdir(parents=True, exist_ok=True)
        try:
            path.mkdir()
        except FileNotFoundError:  # `check_output_folder` of another run has just removed the empty parent
            if parent.is_symlink():
                raise
        except FileExistsError:
            number += 1
        else:
            return path


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write the manifest to the folder `path`, which counts as a result from then on."""
    text = json.dumps(asdict(manifest), indent=2, ensure_ascii=False)
    replace_file(path / MANIFEST_FILE, text + "\n")


def replace_file(path: Path, text: str) -> None:
    """Replace the file in one step: a reader, or a crash, finds either the old text or the new one."""
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("wb") as file:
        file.write(text.encode("utf-8", "replace"))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync_folder(path.parent)


class LineFile:
    """A text file that grows by whole lines.

    When `append` returns, the lines survive the death of this process. They survive a power failure once they are
    synced: by the first `append` more than `_SYNC_SECONDS` after the last sync, or by `sync`.
    """

    def __init__(self, path: Path, *, synced: bool = True) -> None:
        """Grow the file at `path`; one that can be derived from others needs no syncing (``synced=False``)."""
        self._path = path
        self._next_sync = 0.0 if synced else float("inf")  # by time.monotonic()
        self._is_synced = True

    def append(self, text: str) -> None:
        """Append lines, each with its newline; after an error none of them is in the file.

        Raises:
            OSError: the lines cannot be written, for example because the disk is full.
        """
        with open(self._path, "ab", buffering=0, opener=open_without_waiting) as file:
            size = os.fstat(file.fileno()).st_size
            try:
                remaining = memoryview(text.encode("utf-8", "replace"))
                while remaining:
                    remaining = remaining[file.write(remaining) :]
                self._is_synced = False
                if time.monotonic() >= self._next_sync:
                    self._sync(file.fileno())
            except BaseException:
                with suppress(OSError):
                    os.ftruncate(file.fileno(), size)
                raise

    def sync(self) -> None:
        """Make all lines survive a power failure.

        Raises:
            OSError: the disk refuses.
        """
        if not self._is_synced and self._next_sync < float("inf"):
            with open(self._path, "ab", opener=open_without_waiting) as file:
                self._sync(file.fileno())

    def _sync(self, descriptor: int) -> None:
        os.fsync(descriptor)
        _sync_folder(self._path.parent)
        self._next_sync = time.monotonic() + _SYNC_SECONDS
        self._is_synced = True


def _sync_folder(path: Path) -> None:
    """Make the names in a folder survive a power failure; not every system and file system can."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an operating-system error within the block into a `ResultError`; `path` is named if the error names none."""
    try:
        yield
    except OSError as error:
        name = error.filename or path
        raise ResultError(f"cannot write {name}: {error.strerror}; choose another folder with --output-dir") from None
