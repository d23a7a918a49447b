"""The allocator's history as columns of numbers: a million events in some 40 MB.

A *position* counts the allocations and frees so far, over all threads and streams. The allocator's own statistics count
them too (`allocation.all.allocated` and `.freed`), so a process can record its position in the history.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import Any, NamedTuple

from memprof.allocator.rules import AllocatorRules
from memprof.allocator.stacks import SiteTable

Snapshot = Mapping[str, Any]


class SnapshotError(ValueError):
    """The dictionary is not a memory snapshot of PyTorch, or has no history."""


class Action(IntEnum):
    """An action of the allocator, with the names of `torch.cuda.memory._snapshot`."""

    ALLOC = 0
    FREE_REQUESTED = 1  # the memory no longer counts as allocated
    FREE_COMPLETED = 2  # the memory may be used again: no other stream uses it
    SEGMENT_ALLOC = 3
    SEGMENT_FREE = 4
    SEGMENT_MAP = 5  # of an expandable segment
    SEGMENT_UNMAP = 6
    OOM = 7


_ACTIONS = {action.name.lower(): action for action in Action}
_NO_SITE = -1


class Event(NamedTuple):
    """One entry. `size_bytes` is the requested size for ALLOC and OOM, else the size of the part of a segment."""

    action: Action
    address: int
    size_bytes: int
    site: int  # an index into `Trace.sites`; -1 if no stack was recorded


class Trace:
    """The history of one device, in order."""

    def __init__(self) -> None:
        self.rules = AllocatorRules()
        self.sites = SiteTable()
        self._actions = array("b")
        self._addresses = array("Q")
        self._sizes = array("Q")
        self._sites = array("l")

    def __len__(self) -> int:
        return len(self._actions)

    def __iter__(self) -> Iterator[Event]:
        return (Event(Action(action), address, size, site) for action, address, size, site in self.rows())

    def rows(self) -> Iterator[tuple[int, int, int, int]]:
        """Yield the events as plain numbers, which is several times faster: action, address, bytes, site."""
        return zip(self._actions, self._addresses, self._sizes, self._sites, strict=True)

    def append(self, event: Event) -> None:
        """Add one event at the end."""
        self._actions.append(event.action)
        self._addresses.append(event.address)
        self._sizes.append(event.size_bytes)
        self._sites.append(event.site)

    def extend(self, snapshot: Snapshot, device: int = 0) -> None:
        """Add the events of a snapshot, which continue those so far.

        Raises:
            SnapshotError: it is not a snapshot, or has no device of this number.
        """
        entries = _entries(snapshot, device)
        self.rules = AllocatorRules.of_snapshot(snapshot)
        # Entries such as `snapshot` move no memory. An OOM has the free bytes that CUDA reports, and no address.
        moving = [(action, entry) for entry in entries if (action := _ACTIONS.get(entry["action"])) is not None]
        self._actions.extend([action for action, _ in moving])
        self._addresses.extend([entry.get("addr", 0) for _, entry in moving])
        self._sizes.extend([entry["size"] for _, entry in moving])
        self._sites.extend([self._site_of(action, entry) for action, entry in moving])
        self.sites.forget_frames()

    def _site_of(self, action: Action, entry: Mapping[str, Any]) -> int:
        return self.sites.index_of(entry.get("frames")) if action is Action.ALLOC else _NO_SITE


def _entries(snapshot: Snapshot, device: int) -> list[dict[str, Any]]:
    try:
        entries = snapshot["device_traces"][device]
    except (KeyError, IndexError, TypeError) as error:
        raise SnapshotError(f"no memory snapshot of PyTorch with a device {device}") from error
    if not isinstance(entries, list):
        raise SnapshotError("no memory snapshot of PyTorch: its device_traces are not lists")
    return entries
