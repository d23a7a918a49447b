"""Record the allocator's own history: start it, read it in pieces, and stop it."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from memprof.allocator import Trace
from memprof.errors import WorkloadError
from memprof.results.files import replacing

# A snapshot has a dictionary per event, so that the history of a long run is read in pieces of so many requests.
_REQUESTS_PER_PIECE = 200_000
_MAX_ENTRIES = 4 * _REQUESTS_PER_PIECE + 100_000  # a request has up to four entries


class History:
    """The history of one device from `start` to `stop`; a process can record only one at a time."""

    def __init__(self, device: torch.device, *, whole: bool = False, stacks: bool = True) -> None:
        """Prepare to record the history of `device`.

        Args:
            device: a CUDA device.
            whole: keep the history in one piece, so that the last snapshot has all of it.
            stacks: record the stack of each request.

        Raises:
            WorkloadError: the allocator backend records no history.
        """
        backend = torch.cuda.get_allocator_backend()
        if backend != "native":
            raise WorkloadError(f"the allocator backend:{backend} records no history, which explaining needs")
        self.trace = Trace()
        self.segments: Sequence[dict[str, Any]] = ()
        self.index = device.index if device.index is not None else torch.cuda.current_device()
        self._whole, self._stacks = whole, stacks
        self._base = self._read = 0

    def start(self) -> None:
        """Start to record, and remember what the allocator has already."""
        # Only names for C++ frames, because looking up lines takes minutes. PyTorch reads this once.
        os.environ.setdefault("TORCH_SYMBOLIZE_MODE", "dladdr")
        self._record()
        if torch.cuda.memory_allocated(self.index) or torch.cuda.memory_reserved(self.index):
            snapshot = torch.cuda.memory._snapshot()
            self.segments = [part for part in snapshot["segments"] if part["device"] == self.index]
        self._base = self._request_count()

    def position(self) -> int:
        """Return the number of allocations and frees since the start."""
        position = self._request_count() - self._base
        if position - self._read > _REQUESTS_PER_PIECE and not self._whole:
            self._read_history()
            self._record()
        return position

    def stop(self) -> dict[str, Any]:
        """Read the rest, stop recording, and return the last snapshot."""
        snapshot = self._read_history()
        torch.cuda.memory._record_memory_history(enabled=None)
        return snapshot

    def _read_history(self) -> dict[str, Any]:
        snapshot: dict[str, Any] = torch.cuda.memory._snapshot()
        self.trace.extend(snapshot, self.index)
        self._read = self._request_count() - self._base
        return snapshot

    def _record(self) -> None:
        torch.cuda.memory._record_memory_history(
            enabled="all",
            context="alloc" if self._stacks else None,
            stacks="all" if self._stacks else "python",
            max_entries=10_000_000 if self._whole else _MAX_ENTRIES,
            device=self.index,
            clear_history=True,
        )

    def _request_count(self) -> int:
        counts = torch._C._cuda_memoryStats(self.index)["allocation"]["all"]
        requests: int = counts["allocated"] + counts["freed"]
        return requests


def write_snapshot(snapshot: dict[str, Any], index: int, names: Iterable[str], path: Path) -> None:
    """Write a snapshot for pytorch.org/memory_viz, with a name for each allocation of device `index`.

    `names` are those of the allocations in order; they replace the text of `torch.cuda.memory._set_memory_metadata`.

    Raises:
        OSError: the file cannot be written.
    """
    allocations = (entry for entry in snapshot["device_traces"][index] if entry["action"] == "alloc")
    for entry, name in zip(allocations, names, strict=True):
        entry["user_metadata"] = name
    with replacing(path) as temporary, temporary.open("wb") as file:
        pickle.dump(snapshot, file)
