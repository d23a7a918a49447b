"""The allocator's own history, switched on, read in pieces, and switched off again."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from memprof.allocator import Trace
from memprof.errors import WorkloadError

# So many requests a piece: a snapshot is a dictionary an event, which a long run would not fit into.
_PIECE = 200_000
_ENTRIES = 4 * _PIECE + 100_000  # a move has up to four entries


class History:
    """The history of one device from `start` to `stop`. Only one can be kept at a time in a process."""

    def __init__(self, device: torch.device, *, whole: bool = False, stacks: bool = True) -> None:
        """Keep the history of `device`; `whole` in one piece, so that the last snapshot has all of it.

        Raises:
            WorkloadError: the allocator in use keeps no history.
        """
        backend = torch.cuda.get_allocator_backend()
        if backend != "native":
            raise WorkloadError(f"the allocator backend:{backend} keeps no history to explain from")
        self.trace = Trace()
        self.segments: Sequence[dict[str, Any]] = ()
        self.index = device.index if device.index is not None else torch.cuda.current_device()
        self._whole, self._stacks = whole, stacks
        self._base = self._read = 0

    def start(self) -> None:
        """Begin, with what the allocator has already."""
        # Names without lines for the frames of C++: looking up lines takes minutes. PyTorch reads this once.
        os.environ.setdefault("TORCH_SYMBOLIZE_MODE", "dladdr")
        self._record()
        if torch.cuda.memory_allocated(self.index) or torch.cuda.memory_reserved(self.index):
            snapshot = torch.cuda.memory._snapshot()
            self.segments = [part for part in snapshot["segments"] if part["device"] == self.index]
        self._base = self._moves()

    def position(self) -> int:
        """Return how many allocations and frees there were since the start."""
        position = self._moves() - self._base
        if position - self._read > _PIECE and not self._whole:
            self._harvest()
            self._record()
        return position

    def stop(self) -> dict[str, Any]:
        """Read what is left, switch the history off, and return the last snapshot."""
        snapshot = self._harvest()
        torch.cuda.memory._record_memory_history(enabled=None)
        return snapshot

    def _harvest(self) -> dict[str, Any]:
        snapshot: dict[str, Any] = torch.cuda.memory._snapshot()
        self.trace.extend(snapshot, self.index)
        self._read = self._moves() - self._base
        return snapshot

    def _record(self) -> None:
        torch.cuda.memory._record_memory_history(
            enabled="all",
            context="alloc" if self._stacks else None,
            stacks="all" if self._stacks else "python",
            max_entries=10_000_000 if self._whole else _ENTRIES,
            device=self.index,
            clear_history=True,
        )

    def _moves(self) -> int:
        counts = torch._C._cuda_memoryStats(self.index)["allocation"]["all"]
        requests: int = counts["allocated"] + counts["freed"]
        return requests


def write_snapshot(snapshot: dict[str, Any], index: int, names: Iterable[str], path: Path) -> None:
    """Write a snapshot as pytorch.org/memory_viz opens it, each allocation of device `index` with its name.

    `names` are those of the allocations in order; they go where `torch.cuda.memory._set_memory_metadata` puts its text.

    Raises:
        OSError: it cannot be written.
    """
    allocations = (entry for entry in snapshot["device_traces"][index] if entry["action"] == "alloc")
    for entry, name in zip(allocations, names, strict=True):
        entry["user_metadata"] = name
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("wb") as file:
        pickle.dump(snapshot, file)
    temporary.replace(path)
