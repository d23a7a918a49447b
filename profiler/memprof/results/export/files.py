"""Rows as a file: CSV with the columns of `results.csv`, and Parquet with types and the versions in its metadata."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from memprof.errors import ResultError
from memprof.results.load import Result
from memprof.results.rows import to_csv


def write_csv(result: Result, place: str) -> str:
    """Write a new CSV file: bytes as integers, unknown as an empty cell.

    Raises:
        ResultError: the file exists, or cannot be written.
    """
    with _new_file(place) as temporary:
        temporary.write_text(to_csv(result.records), encoding="utf-8", newline="")
    return f"{len(result.records):,} rows in {place}"


def write_parquet(result: Result, place: str) -> str:
    """Write a new Parquet file: bytes as 64-bit integers, unknown as null.

    Raises:
        ResultError: the file exists, or cannot be written.
    """
    from memprof.results.dataframe import frame

    with _new_file(place) as temporary:
        frame(result.records).to_parquet(temporary, engine="pyarrow", index=False)
    return f"{len(result.records):,} rows in {place}"


@contextmanager
def _new_file(place: str) -> Iterator[Path]:
    """Yield a temporary file that becomes `place` at the end, unless something is there already."""
    target = Path(place)
    try:
        if target.exists():
            raise ResultError(f"{place} exists already; name another file with --output")
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        os.close(handle)
        try:
            yield Path(name)
            os.chmod(name, 0o666 & ~_umask())
            os.link(name, target)  # unlike a rename, it fails if another process was first
        finally:
            os.unlink(name)
    except FileExistsError:
        raise ResultError(f"{place} exists already; name another file with --output") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ResultError(f"{place} cannot be written: {reason}") from None


def _umask() -> int:
    umask = os.umask(0o077)
    os.umask(umask)
    return umask
