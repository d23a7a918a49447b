"""The allocator's state before a history, computed backwards from the snapshot at its end."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import Any

from memprof.allocator.history import Action, Trace

Segment = dict[str, Any]


def segments_before(snapshot: Mapping[str, Any], trace: Trace, device: int = 0) -> list[Segment]:
    """Return the segments before `trace`, in the form of a snapshot's, with the blocks in them.

    The snapshot does not have the length of a block that the trace frees. It is assumed to reach as far as the rules
    allow before the next block, which is wrong only if not all of that range was free at the allocation.
    """
    older = sorted(_older_blocks(snapshot, trace, device), key=itemgetter("address"))
    segments: list[Segment] = []
    for address, end in _ranges_before(snapshot, trace, device):
        inside = [block for block in older if address <= block["address"] < end]
        reaches = [*(block["address"] for block in inside[1:]), end]
        for block, reach in zip(inside, reaches, strict=False):
            if "size" not in block:
                block["size"] = trace.rules.block_size(block["requested_size"], reach - block["address"])
        segments.append({"address": address, "total_size": end - address, "blocks": inside})
    return segments


def _ranges_before(snapshot: Mapping[str, Any], trace: Trace, device: int) -> list[tuple[int, int]]:
    """The mapped ranges at the start: those at the end, with each mapping of the history undone."""
    ranges = {s["address"]: s["address"] + s["total_size"] for s in _segments(snapshot, device)}
    for action, address, size, _ in reversed(list(trace.rows())):
        if action in (Action.SEGMENT_ALLOC, Action.SEGMENT_MAP):
            _cut_out(ranges, address, address + size)
        elif action in (Action.SEGMENT_FREE, Action.SEGMENT_UNMAP):
            ranges[address] = address + size
    return sorted(ranges.items())


def _cut_out(ranges: dict[int, int], start: int, end: int) -> None:
    for left, right in list(ranges.items()):
        if left < end and start < right:
            del ranges[left]
            ranges.update({a: b for a, b in ((left, start), (end, right)) if a < b})


def _older_blocks(snapshot: Mapping[str, Any], trace: Trace, device: int) -> list[dict[str, Any]]:
    alive: set[int] = set()
    older: dict[int, dict[str, Any]] = {}
    for action, address, size, _ in trace.rows():
        if action == Action.ALLOC:
            alive.add(address)
        elif action == Action.FREE_REQUESTED and address in alive:
            alive.remove(address)
        elif action == Action.FREE_REQUESTED:
            older.setdefault(address, _block(address, size))
    for segment in _segments(snapshot, device):
        address = segment["address"]
        for block in segment["blocks"]:
            address = block.get("address", address)
            if block["state"] == "active_allocated" and address not in alive:
                requested = block.get("requested_size", block["size"])
                older.setdefault(address, {**_block(address, requested), "size": block["size"]})
            address += block["size"]
    return list(older.values())


def _block(address: int, requested_bytes: int) -> dict[str, Any]:
    return {"address": address, "requested_size": requested_bytes, "state": "active_allocated"}


def _segments(snapshot: Mapping[str, Any], device: int) -> list[Mapping[str, Any]]:
    return [segment for segment in snapshot["segments"] if segment["device"] == device]
