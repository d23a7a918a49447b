"""Memory snapshots: explain one from `torch.cuda.memory._dump_snapshot`, and check where one can be written; no torch.

A snapshot from elsewhere does not say which addresses were parameters, so the use of a block follows from its stack and
from the time at which it was freed.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from memprof.allocator import SnapshotError, Trace
from memprof.allocator.initial_state import segments_before
from memprof.breakdown.attribution import Annotations, DeviceFigures, PhaseMarker, attribute
from memprof.breakdown.explanation import Explanation
from memprof.errors import DATA_ERRORS, ResultError, one_line
from memprof.records import Phase
from memprof.units import GIB

# Python objects take at most so many times the bytes of their pickle: an empty dict takes 64 bytes for one.
_BYTES_PER_PICKLED_BYTE = 64
_UNUSABLE = (*DATA_ERRORS, pickle.UnpicklingError, EOFError, LookupError, AttributeError, ImportError, ArithmeticError)


def explain_snapshot(file: Path) -> dict[int, Explanation]:
    """Return what the peak of each device consists of, by the index of the device; devices without history are omitted.

    Raises:
        ResultError: the file cannot be read, is not a snapshot, or has no history.
    """
    with _as_result_errors(file):
        snapshot = _read(file)
        indices = [index for index, events in enumerate(snapshot["device_traces"]) if events]
        if not indices:
            raise ResultError(
                f"{file} has no history: call torch.cuda.memory._record_memory_history() before the code to explain"
            )
        return {index: _explain(snapshot, index) for index in indices}


def check_writable(file: Path) -> None:
    """Check before a run that a snapshot can be written to `file`.

    Raises:
        ResultError: it is a folder, or cannot be written.
    """
    try:
        if file.is_dir():
            raise ResultError(f"snapshot {file}: is a folder; name a file, for example {file / 'snapshot.pickle'}")
        trial = file.with_name(f".{file.name}.new")
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise ResultError(f"snapshot {file}: cannot be written: {error.strerror}") from None
    except ValueError as error:  # a null byte, or no file name
        raise ResultError(one_line(f"snapshot {file}: cannot be written: {error}")) from None


@contextmanager
def _as_result_errors(file: Path) -> Iterator[None]:
    """Turn every error that the content or the path of a snapshot can cause into a `ResultError`."""
    try:
        yield
    except OSError as error:
        raise ResultError(f"cannot read {file}: {error.strerror}") from None
    except SnapshotError as error:
        raise ResultError(one_line(f"{file} is not a memory snapshot of PyTorch: {error}")) from None
    except _UNUSABLE as error:
        problem = f"{type(error).__name__}: {error}".removesuffix(": ")
        raise ResultError(one_line(f"{file} is not a memory snapshot of PyTorch: {problem}")) from None


def _explain(snapshot: dict[str, Any], index: int) -> Explanation:
    trace = Trace()
    trace.extend(snapshot, index)
    segments = segments_before(snapshot, trace, index)
    end = sum(segment["allocated_size"] for segment in snapshot["segments"] if segment["device"] == index)
    annotations = Annotations(markers=[PhaseMarker(position=0, phase=Phase.FORWARD)])
    figures = DeviceFigures(end_allocated_bytes=end)
    return attribute(trace, annotations, figures, segments, infer_backward=True).explanation()


class _PlainUnpickler(pickle.Unpickler):
    """Unpickles plain values only: a pickle from elsewhere could name any code to run."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it names {module}.{name}, and a snapshot has no classes")


def _read(file: Path) -> dict[str, Any]:
    with file.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        with _limited_memory(GIB + _BYTES_PER_PICKLED_BYTE * size):
            snapshot = _PlainUnpickler(stream).load()
    if not isinstance(snapshot, dict):
        raise pickle.UnpicklingError(f"it holds a {type(snapshot).__name__}")
    return snapshot


@contextmanager
def _limited_memory(more_bytes: int) -> Iterator[None]:
    """Let this process take at most `more_bytes` more memory within the block, on Linux.

    A damaged pickle of a few bytes can claim lengths and indices of gigabytes, and `pickle` allocates them.
    """
    try:
        import resource

        used_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        limits = [limit for limit in (used_bytes + more_bytes, soft, hard) if limit != resource.RLIM_INFINITY]
        resource.setrlimit(resource.RLIMIT_AS, (min(limits), hard))
    except (ImportError, OSError, ValueError):
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
