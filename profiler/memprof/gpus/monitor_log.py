"""The samples of a monitor as CSV: one line for each GPU and one for each process, written at once."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from io import FileIO
from pathlib import Path

from memprof.errors import ResultError
from memprof.gpus.monitor import GpuUse

# Bytes are whole numbers; unknown is empty. `pid` is empty in the line of the GPU itself, which counts all processes.
COLUMNS = ("time", "gpu", "index", "source", "pid", "used_bytes", "peak_bytes", "total_bytes")

Write = Callable[[datetime, Sequence[GpuUse]], None]


@contextmanager
def open_log(path: Path) -> Iterator[Write]:
    """Open the log for appending, and yield a function that writes a sample.

    Raises:
        ResultError: the file cannot be written, now or later, or is not such a log.
    """
    with _as_result_error(path):
        file = path.open("ab", buffering=0)  # each sample is one write, so that none is ever incomplete
    with file:
        with _as_result_error(path):
            _begin(file, path)
        yield partial(_write, file, path)


def _write(file: FileIO, path: Path, time: datetime, gpus: Sequence[GpuUse]) -> None:
    with _as_result_error(path):
        file.write(b"".join(map(_line, rows(time, gpus))))


def rows(time: datetime, gpus: Sequence[GpuUse]) -> Iterator[tuple[str | int | None, ...]]:
    """Yield the values of `COLUMNS` for each GPU, then for each process on it; `time` is given in ISO 8601, UTC."""
    stamp = time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    for gpu in gpus:
        about = (stamp, gpu.name, gpu.index, gpu.source.value)
        yield (*about, None, gpu.used_bytes, gpu.peak_bytes, gpu.total_bytes)
        for process in gpu.processes:
            yield (*about, process.pid, process.used_bytes, process.peak_bytes, gpu.total_bytes)


def _begin(file: FileIO, path: Path) -> None:
    header = _line(COLUMNS)
    with path.open("rb") as before:
        first = before.read(len(header))
        if not first:
            file.write(header)
        elif first != header:
            raise ResultError(f"--log {path}: its first line is not {','.join(COLUMNS)}; choose a new file")
        else:
            before.seek(-1, os.SEEK_END)
            file.write(b"" if before.read() == b"\n" else b"\n")  # a full disk may have cut off the last line


def _line(row: Sequence[str | int | None]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(row)
    return line.getvalue().encode()


@contextmanager
def _as_result_error(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ResultError(f"--log {path}: cannot be written: {error.strerror}") from error
