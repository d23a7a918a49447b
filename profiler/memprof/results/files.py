"""Write files of results: whole files in one step, and lines that are whole or absent."""

from __future__ import annotations

import json
import os
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


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write the manifest to the folder `path`, which counts as a result from then on."""
    text = json.dumps(asdict(manifest), indent=2, ensure_ascii=False)
    replace_file(path / MANIFEST_FILE, text + "\n")


def replace_file(path: Path, content: str | bytes) -> None:
    """Replace the file in one step: a reader, or a crash, finds either the old content or the new one.

    Raises:
        OSError: it cannot be written; the old file is there unchanged, and no other is left.
    """
    data = content.encode("utf-8", "replace") if isinstance(content, str) else content
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(data)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path for a new file, which replaces `path` after the block; an error in the block removes it.

    Raises:
        OSError: `path` cannot be replaced; the old file is there unchanged, and no other is left.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


def remove_left_over(folder: Path) -> None:
    """Remove the new files of processes that were killed before they could replace the old ones.

    Raises:
        OSError: one cannot be removed.
    """
    for path in folder.glob(".*.new"):
        path.unlink(missing_ok=True)


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
        _sync(path)


def _sync(path: Path) -> None:
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
