"""Which addresses are taken: the blocks and segments of the allocator's pools, so that a block's length can be told.

The history names what was asked for, not the block that was given. But the allocator merges free neighbours of a
segment at once, so the free place at an address reaches to the next block or to the segment's end, and the rules say
how much of it a request takes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort

from profiler.trace.rules import AllocatorRules


class Blocks:
    """The taken places of one device, and the mapped ranges that they lie in."""

    def __init__(self, rules: AllocatorRules) -> None:
        self._rules = rules
        self._starts: list[int] = []  # of the taken places, in order
        self._segments: list[int] = []  # the begins of the mapped ranges, in order
        self._segment_ends: dict[int, int] = {}

    def take(self, address: int, requested_bytes: int) -> int:
        """Take the place for a request and return the block's length."""
        position = bisect_left(self._starts, address)
        length = self._rules.block_size(requested_bytes, self._free_bytes(address, position))
        self._starts.insert(position, address)
        return length

    def take_known(self, address: int) -> None:
        """Take a place whose length is known already."""
        insort(self._starts, address)

    def give_back(self, address: int) -> None:
        """Free the place at `address`; one that nobody took stays free."""
        position = bisect_left(self._starts, address)
        if position < len(self._starts) and self._starts[position] == address:
            del self._starts[position]

    def map(self, address: int, length: int) -> None:
        """Add a segment, or a part of an expandable one: neighbouring parts become one range."""
        end = address + length
        position = bisect_left(self._segments, address)
        if self._rules.expandable_segments:
            if position < len(self._segments) and self._segments[position] == end:
                end = self._segment_ends.pop(self._segments.pop(position))
            before = self._segments[position - 1] if position else None
            if before is not None and self._segment_ends[before] == address:
                self._segment_ends[before] = end
                return
        self._segments.insert(position, address)
        self._segment_ends[address] = end

    def unmap(self, address: int, length: int) -> None:
        """Take a segment away, or a part of a range."""
        position = bisect_right(self._segments, address) - 1
        if position < 0:
            return
        start = self._segments[position]
        end = self._segment_ends.pop(start)
        del self._segments[position]
        for left, right in ((start, address), (address + length, end)):
            if left < right:
                insort(self._segments, left)
                self._segment_ends[left] = right

    def _free_bytes(self, address: int, position: int) -> int:
        """How far the free place at `address` reaches; 0 where its segment is not known."""
        segment = bisect_right(self._segments, address) - 1
        end = self._segment_ends[self._segments[segment]] if segment >= 0 else 0
        if position < len(self._starts):
            end = min(end, self._starts[position])
        return max(end - address, 0)
