"""How the caching allocator rounds and splits: the rules that turn a request into a block.

Source: PyTorch's c10/cuda/CUDACachingAllocator.cpp (`round_size`, `should_split`) and
c10/core/AllocatorConfig.h (`kMinBlockSize`, `kSmallSize`, `roundup_power2_divisions`), the same from 2.1 to 2.15.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from memprof.units import MIB, round_up

MIN_BLOCK_BYTES = 512
SMALL_BYTES = MIB  # the largest request that is served from the small pool
_POWER2_SIZES = tuple(MIB << step for step in range(16))  # the smallest size of each entry of roundup_power2_divisions


@dataclass(frozen=True, kw_only=True)
class AllocatorRules:
    """The settings of PYTORCH_ALLOC_CONF that decide how large a block is."""

    expandable_segments: bool = False
    max_split_bytes: int | None = None  # None: blocks of any size are split
    power2_divisions: Mapping[int, int] = field(default_factory=dict)  # by the smallest size that it applies to

    @classmethod
    def of_snapshot(cls, snapshot: Mapping[str, Any]) -> AllocatorRules:
        """Return the rules in effect when a snapshot was taken."""
        settings = snapshot.get("allocator_settings") or {}
        most = settings.get("max_split_size", -1)  # -1: any size
        divisions = settings.get("roundup_power2_divisions") or {}
        return cls(
            expandable_segments=bool(settings.get("expandable_segments", False)),
            max_split_bytes=most if most >= 0 else None,
            power2_divisions={int(size) * MIB: count for size, count in divisions.items() if count > 1},
        )

    def round_size(self, requested_bytes: int) -> int:
        """Return the rounded size of a request, with which the allocator looks for a block."""
        if requested_bytes < MIN_BLOCK_BYTES:
            return MIN_BLOCK_BYTES
        divisions = self._divisions(requested_bytes) if self.power2_divisions else 0
        if divisions > 1 and requested_bytes > MIN_BLOCK_BYTES * divisions:
            return _next_division(requested_bytes, divisions)
        return round_up(requested_bytes, MIN_BLOCK_BYTES)

    def block_size(self, requested_bytes: int, free_bytes: int) -> int:
        """Return how much of a free block of `free_bytes` a request takes: all of it unless it is split.

        If the free block is too small (its segment is not known), this is the rounded request.
        """
        return self.rounded_block_size(self.round_size(requested_bytes), free_bytes)

    def rounded_block_size(self, rounded: int, free_bytes: int) -> int:
        """Return the same for a request that is rounded already."""
        remaining = free_bytes - rounded
        if remaining < 0:
            return rounded
        if rounded <= SMALL_BYTES or self.expandable_segments:
            splits = remaining >= MIN_BLOCK_BYTES
        else:
            splits = remaining > SMALL_BYTES and (self.max_split_bytes is None or rounded < self.max_split_bytes)
        return rounded if splits else free_bytes

    def _divisions(self, requested_bytes: int) -> int:
        smallest = max((size for size in _POWER2_SIZES if size <= requested_bytes), default=_POWER2_SIZES[0])
        return self.power2_divisions.get(smallest, 0)


def _next_division(size: int, divisions: int) -> int:
    """The next of `divisions` even steps between the powers of two around `size`."""
    floor = 1 << (size.bit_length() - 1)
    if size == floor:
        return size
    step = floor >> (divisions.bit_length() - 1)
    return round_up(size, step) if step else floor << 1
