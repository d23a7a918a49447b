"""Replay a history: every allocation with its block and its lifetime, and the totals at each moment."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from memprof.allocator.block_map import Blocks
from memprof.allocator.history import Action, Trace

PREEXISTING = -1  # the position of allocations from before the history


@dataclass(slots=True, kw_only=True)
class Allocation:
    """One allocation of the program, from its request to its free."""

    address: int
    requested_bytes: int
    block_bytes: int
    site: int  # an index into the trace's sites; -1 if no stack was recorded
    allocated_at: int  # the position of the allocation; PREEXISTING if it is older than the history
    freed_at: int | None = None  # the position of the free; None if it outlives the history


@dataclass(frozen=True, kw_only=True)
class Instant:
    """One moment of the history. `position` counts the requests before it; the last of them led to these totals."""

    position: int
    allocated_bytes: int
    reserved_bytes: int


@dataclass(kw_only=True)
class Replay:
    """The result of a replay: lifetimes and totals. A *request* is an allocation or a free.

    `requests[p]` is the index of the allocation that request `p` made, or ``~index`` of the one that it freed.
    `allocated_bytes[p]` and `reserved_bytes[p]` are the totals right after it.
    """

    allocations: list[Allocation] = field(default_factory=list)
    requests: array[int] = field(default_factory=lambda: array("l"))
    allocated_bytes: array[int] = field(default_factory=lambda: array("q"))
    reserved_bytes: array[int] = field(default_factory=lambda: array("q"))
    start_allocated_bytes: int = 0  # before the first request
    start_reserved_bytes: int = 0
    peak_reserved_bytes: int = 0  # also between two requests

    @property
    def peak(self) -> Instant:
        """The first moment of the highest allocation."""
        return self.instant(_first_highest(self.allocated_bytes, self.start_allocated_bytes))

    @property
    def reserved_peak(self) -> Instant:
        """The moment of the highest reserved total; if there are several, the one with most allocated."""
        highest = max(self.reserved_bytes, default=0)
        if highest <= self.start_reserved_bytes:
            return self.instant(0)
        positions = (position for position, reserved in enumerate(self.reserved_bytes) if reserved == highest)
        return self.instant(max(positions, key=self.allocated_bytes.__getitem__) + 1)

    def instant(self, position: int) -> Instant:
        """Return the moment after `position` requests."""
        if position == 0:
            return Instant(
                position=0, allocated_bytes=self.start_allocated_bytes, reserved_bytes=self.start_reserved_bytes
            )
        return Instant(
            position=position,
            allocated_bytes=self.allocated_bytes[position - 1],
            reserved_bytes=self.reserved_bytes[position - 1],
        )

    def alive_at(self, position: int) -> Iterator[int]:
        """Yield the indices of the allocations that are alive after `position` requests."""
        for index, allocation in enumerate(self.allocations):
            if allocation.allocated_at < position and (allocation.freed_at is None or allocation.freed_at >= position):
                yield index


def replay(trace: Trace, segments: Iterable[Mapping[str, Any]] = ()) -> Replay:
    """Replay a history from its start.

    Args:
        trace: the history of one device.
        segments: the allocator's segments before the history, as the ``segments`` of a snapshot; none if the history
            begins before the first allocation.
    """
    return _Replaying(trace, segments).run()


class _Replaying:
    def __init__(self, trace: Trace, segments: Iterable[Mapping[str, Any]]) -> None:
        self._trace = trace
        self._blocks = Blocks(trace.rules)
        self._result = Replay()
        self._alive: dict[int, int] = {}  # by address
        self._allocated_bytes = self._reserved_bytes = 0
        self._older_bytes = self._older_reserved_bytes = 0  # first seen when they are freed
        for segment in segments:
            self._begin_with(segment)
        self._result.start_allocated_bytes = self._allocated_bytes
        self._result.start_reserved_bytes = self._result.peak_reserved_bytes = self._reserved_bytes

    def run(self) -> Replay:
        for action, address, size, site in self._trace.rows():
            if action == Action.ALLOC:
                self._allocate(address, size, site)
            elif action == Action.FREE_REQUESTED:
                self._free(address, size)
            elif action == Action.FREE_COMPLETED:
                self._blocks.give_back(address)
            elif action != Action.OOM:
                self._reserve(action, address, size)
        self._count_older()
        return self._result

    def _reserve(self, action: int, address: int, size: int) -> None:
        if action in (Action.SEGMENT_ALLOC, Action.SEGMENT_MAP):
            self._reserved_bytes += size
            self._result.peak_reserved_bytes = max(self._result.peak_reserved_bytes, self._reserved_bytes)
        else:
            self._reserved_bytes -= size
            self._older_reserved_bytes = max(self._older_reserved_bytes, -self._reserved_bytes)
        if action == Action.SEGMENT_ALLOC:
            self._blocks.add_segment(address, size)
        elif action == Action.SEGMENT_FREE:
            self._blocks.remove_segment(address)

    def _count_older(self) -> None:
        """Add the blocks and segments from before the history to all totals."""
        result, older, reserved = self._result, self._older_bytes, self._older_reserved_bytes
        result.start_allocated_bytes += older
        result.start_reserved_bytes += reserved
        result.peak_reserved_bytes += reserved
        if older:
            result.allocated_bytes = array("q", (total + older for total in result.allocated_bytes))
        if reserved:
            result.reserved_bytes = array("q", (total + reserved for total in result.reserved_bytes))

    def _begin_with(self, segment: Mapping[str, Any]) -> None:
        for address, block in _addressed(segment):
            if block["state"] == "inactive":
                continue
            self._blocks.take_known(address)
            if block["state"] == "active_allocated":
                self._add(address, block.get("requested_size", block["size"]), block["size"], PREEXISTING, -1)
        self._blocks.add_segment(segment["address"], segment["total_size"])
        self._reserved_bytes += segment["total_size"]

    def _allocate(self, address: int, requested_bytes: int, site: int) -> None:
        length = self._blocks.take(address, requested_bytes)
        self._add(address, requested_bytes, length, len(self._result.requests), site)
        self._add_request(len(self._result.allocations) - 1)

    def _add(self, address: int, requested_bytes: int, length: int, allocated_at: int, site: int) -> None:
        self._alive[address] = len(self._result.allocations)
        self._result.allocations.append(
            Allocation(
                address=address,
                requested_bytes=requested_bytes,
                block_bytes=length,
                site=site,
                allocated_at=allocated_at,
            )
        )
        self._allocated_bytes += length

    def _free(self, address: int, requested_bytes: int) -> None:
        index = self._alive.pop(address, None)
        if index is None:  # older than the history, and the caller gave no segments
            index = self._add_older(address, requested_bytes)
        allocation = self._result.allocations[index]
        allocation.freed_at = len(self._result.requests)
        self._allocated_bytes -= allocation.block_bytes
        self._add_request(~index)

    def _add_older(self, address: int, requested_bytes: int) -> int:
        length = self._trace.rules.round_size(requested_bytes)
        self._add(address, requested_bytes, length, PREEXISTING, -1)
        del self._alive[address]
        self._allocated_bytes -= length  # added to all totals at the end
        self._older_bytes += length
        return len(self._result.allocations) - 1

    def _add_request(self, request: int) -> None:
        self._result.requests.append(request)
        self._result.allocated_bytes.append(self._allocated_bytes)
        self._result.reserved_bytes.append(self._reserved_bytes)


def _addressed(segment: Mapping[str, Any]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the blocks of a segment with their addresses, which snapshots before torch 2.2 do not have."""
    address = segment["address"]
    for block in segment["blocks"]:
        address = block.get("address", address)
        yield address, block
        address += block["size"]


def _first_highest(totals: array[int], start: int) -> int:
    """The position right after the first of the highest totals, 0 if the start is highest."""
    highest = max(totals, default=0)
    return totals.index(highest) + 1 if highest > start else 0
