"""The taken addresses of a device, from which the length of a new block follows.

The history has the requested bytes, not the length of the block. But the allocator merges free neighbours of a segment
at once, so the free range at an address reaches to the next block or to the end of the segment. The rules say how much
of it a request takes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort

from memprof.allocator.rules import AllocatorRules


class Blocks:
    """The taken ranges of one device, and their segments.

    The parts of expandable segments are not needed: the allocator splits off any remainder there, so no length depends
    on them.
    """

    def __init__(self, rules: AllocatorRules) -> None:
        self._rules = rules
        self._starts: list[int] = []  # of the taken ranges, in order
        self._segments: list[int] = []  # their start addresses, in order
        self._segment_ends: dict[int, int] = {}

    def take(self, address: int, requested_bytes: int) -> int:
        """Take the range for a request and return the block's length."""
        position = bisect_left(self._starts, address)
        length = self._rules.block_size(requested_bytes, self._free_bytes(address, position))
        self._starts.insert(position, address)
        return length

    def take_known(self, address: int) -> None:
        """Take a range whose length is known already."""
        insort(self._starts, address)

    def give_back(self, address: int) -> None:
        """Free the range at `address`; one that is not taken stays free."""
        position = bisect_left(self._starts, address)
        if position < len(self._starts) and self._starts[position] == address:
            del self._starts[position]

    def add_segment(self, address: int, length: int) -> None:
        """Add a segment that CUDA allocated."""
        insort(self._segments, address)
        self._segment_ends[address] = address + length

    def remove_segment(self, address: int) -> None:
        """Remove the segment at `address`, if it is known."""
        if self._segment_ends.pop(address, None) is not None:
            del self._segments[bisect_left(self._segments, address)]

    def _free_bytes(self, address: int, position: int) -> int:
        """How far the free range at `address` reaches; 0 if its segment is not known."""
        segment = bisect_right(self._segments, address) - 1
        end = self._segment_ends[self._segments[segment]] if segment >= 0 else 0
        if position < len(self._starts):
            end = min(end, self._starts[position])
        return max(end - address, 0)
