"""Read files of saved results: regular files only, and each failure is a `ResultError` of one line."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from memprof.errors import ResultError


def read_text(path: Path) -> str:
    """Return the text of a regular file; bytes that are not UTF-8 become U+FFFD.

    Raises:
        ResultError: the file cannot be read, or is a FIFO, a device or another special file.
    """
    with reading(path), open(path, encoding="utf-8", errors="replace", opener=open_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ResultError(f"cannot read {path}: it is not a regular file")
        return file.read()


def open_without_waiting(path: str, flags: int) -> int:
    """Open `path` without waiting for the other end of a FIFO; to be passed to `open` as its `opener`."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o666)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn an operating-system error within the block into a `ResultError`; `path` is named if the error names none."""
    try:
        yield
    except OSError as error:
        raise ResultError(f"cannot read {error.filename or path}: {error.strerror}") from None
    except MemoryError:
        raise ResultError(f"cannot read {path}: it does not fit in memory") from None
