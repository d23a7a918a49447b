"""Files of memory snapshots: where one can be written, and somebody's own one taken apart, without torch.

They are as `torch.cuda.memory._dump_snapshot` writes them. In a foreign one nobody noted which address was a parameter,
so what a block held follows from the stacks and from when it went.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from memprof.allocator import SnapshotError, Trace
from memprof.allocator.initial_state import segments_before
from memprof.breakdown.attribution import Annotations, DeviceFigures, PhaseMarker, account_for
from memprof.breakdown.explanation import Explanation
from memprof.errors import ResultError
from memprof.records import Phase


def explain_snapshot(file: Path) -> dict[int, Explanation]:
    """Return the peak of each device that the snapshot has a history of, by the device's index.

    Raises:
        ResultError: it cannot be read, is no snapshot, or has no history.
    """
    snapshot = _read(file)
    try:
        indices = [index for index, events in enumerate(snapshot["device_traces"]) if events]
        if not indices:
            raise ResultError(
                f"{file} has no history: call torch.cuda.memory._record_memory_history() before what is to be explained"
            )
        return {index: _explain(snapshot, index) for index in indices}
    except (SnapshotError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ResultError(f"{file} is no memory snapshot of PyTorch: {type(error).__name__}: {error}") from None


def check_writable(file: Path) -> None:
    """Refuse a place that a snapshot cannot be written to, before anything runs.

    Raises:
        ResultError: it is a folder, or not to be written.
    """
    if file.is_dir():
        raise ResultError(f"snapshot {file}: is a folder; name a file, for example {file / 'snapshot.pickle'}")
    try:
        trial = file.with_name(f".{file.name}.new")
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise ResultError(f"snapshot {file}: cannot be written: {error.strerror}") from None


def _explain(snapshot: dict[str, Any], index: int) -> Explanation:
    trace = Trace()
    trace.extend(snapshot, index)
    segments = segments_before(snapshot, trace, index)
    end = sum(segment["allocated_size"] for segment in snapshot["segments"] if segment["device"] == index)
    notes = Annotations(marks=[PhaseMarker(position=0, phase=Phase.FORWARD)])
    figures = DeviceFigures(end_allocated_bytes=end)
    return account_for(trace, notes, figures, segments, infer_backward=True).explanation()


class _Plain(pickle.Unpickler):
    """Builds plain values alone: a pickle from elsewhere may name any code to run."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it names {module}.{name}, which no snapshot does")


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            snapshot = _Plain(stream).load()
    except OSError as error:
        raise ResultError(f"cannot read {file}: {error.strerror}") from None
    except (pickle.UnpicklingError, EOFError, ValueError, AttributeError, ImportError, IndexError) as error:
        raise ResultError(f"{file} is no memory snapshot of PyTorch: {error}") from None
    if not isinstance(snapshot, dict):
        raise ResultError(f"{file} is no memory snapshot of PyTorch: it holds a {type(snapshot).__name__}")
    return snapshot
