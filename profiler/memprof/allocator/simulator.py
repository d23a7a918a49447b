"""PyTorch's caching allocator acted out on a list of requests: what it would reserve, and whether the memory would do.

Source of the rules: c10/cuda/CUDACachingAllocator.cpp (`get_free_block`, `alloc_block`, `release_cached_blocks`,
`try_merge_blocks`, `get_allocation_size`) as of torch 2.14, without `max_split_size_mb`, expandable segments and
garbage collection, and for one stream. Among free blocks of one size it takes the one in the oldest segment, and there
the lowest address; older versions take the lowest address of all. Segments get ascending addresses here, which makes
the two the same, unless another order is asked for.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from memprof.allocator.address_order import AddressPolicy
from memprof.allocator.rules import SMALL_BYTES, AllocatorRules
from memprof.units import MIB, round_up

_SMALL_SEGMENT_BYTES = 2 * MIB  # kSmallBuffer
_LARGE_SEGMENT_BYTES = 20 * MIB  # kLargeBuffer, for requests below
_LARGE_REQUEST_BYTES = 10 * MIB  # kMinLargeAlloc, from which on a segment is as long as the request
_SEGMENT_UNIT_BYTES = 2 * MIB  # kRoundLarge
# Of AddressPolicy.DRIVER, as in phantom/csrc/arena.c: what is free of the chunks that a context comes with, the oldest
# first, in MiB; how far below them all the next chunk ends; and in what units chunks are opened.
_FIRST_GAPS, _FIRST_CHUNKS_START, _CHUNK_UNIT_BYTES = ((490, 512), (0, 414), (-8, 0)), -512, 32 * MIB
_FIRST_BY_AGE = (2, 12)  # the PyTorch in which ties go to the oldest segment


@dataclass(slots=True, eq=False)
class _Block:
    """A piece of a segment; neighbours of one segment are linked."""

    address: int
    size: int
    small: bool
    free: bool = False
    before: _Block | None = None
    after: _Block | None = None


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """The result of the requests. `fits` is False if one could not be served; the peaks are those up to it."""

    fits: bool
    peak_allocated_bytes: int
    peak_reserved_bytes: int


class _Addresses:
    """Where segments go that nothing has been freed for."""

    def __init__(self, policy: AddressPolicy) -> None:
        self._policy, self._random = policy, Random(0)
        self._above = self._below = 1 << 46  # as far from both ends of what 47 bits can address
        # What is left of each chunk, the newest last.
        self._gaps = [(self._above + start * MIB, self._above + end * MIB) for start, end in _FIRST_GAPS]
        if policy is AddressPolicy.DRIVER:
            self._below += _FIRST_CHUNKS_START * MIB

    def next(self, length: int) -> int:
        if self._policy is AddressPolicy.DRIVER:
            return self._in_a_chunk(length)
        if self._policy is AddressPolicy.DESCENDING or (
            self._policy is AddressPolicy.MIXED and self._random.random() < 0.5
        ):
            self._below -= length
            return self._below
        address = self._above
        self._above += length
        return address

    def _in_a_chunk(self, length: int) -> int:
        for place in reversed(range(len(self._gaps))):
            start, end = self._gaps[place]
            if end - start >= length:
                break
        else:
            start, end = self._below - round_up(length, _CHUNK_UNIT_BYTES), self._below
            self._below, place = start, len(self._gaps)
            self._gaps.append((start, end))
        if start + length < end:
            self._gaps[place] = (start + length, end)
        else:
            del self._gaps[place]
        return start


def address_order_for(torch_version: str) -> AddressPolicy:
    """Return the order of addresses that acts out how this PyTorch breaks ties between free blocks of one size."""
    by_age = tuple(map(int, torch_version.split(".")[:2])) >= _FIRST_BY_AGE
    return AddressPolicy.ASCENDING if by_age else AddressPolicy.DRIVER


def simulate(
    requests: Sequence[int],
    available_bytes: int | None,
    rules: AllocatorRules | None = None,
    addresses: AddressPolicy = AddressPolicy.ASCENDING,
) -> Simulated:
    """Act the requests out on an empty allocator.

    Args:
        requests: a positive number asks for that many bytes; a negative one, ``~index``, frees the allocation with
            that index.
        available_bytes: what CUDA gives at most; ``None`` for any amount.
        rules: rounding and splitting; by default PyTorch's own.
        addresses: the order in which CUDA hands them out, of which the lowest is taken among free blocks of one size.
    """
    return _Allocator(available_bytes, rules or AllocatorRules(), addresses).run(requests)


def peak_requested(requests: Sequence[int]) -> int:
    """Return the most that the requests have in use at a time: no allocator can do with less."""
    sizes: list[int] = []
    now = peak = 0
    for move in requests:
        if move < 0:
            now -= sizes[~move]
        else:
            sizes.append(move)
            now += move
            peak = max(peak, now)
    return peak


class _Allocator:
    def __init__(self, available_bytes: int | None, rules: AllocatorRules, addresses: AddressPolicy) -> None:
        self._available_bytes, self._rules = available_bytes, rules
        self._addresses = _Addresses(addresses)
        self._free: dict[bool, list[tuple[int, int]]] = {True: [], False: []}  # (size, address), by whether small
        self._blocks: dict[int, _Block] = {}  # the free ones, by address
        self._reserved = self._allocated = self._peak_reserved = self._peak_allocated = 0

    def run(self, requests: Sequence[int]) -> Simulated:
        given: list[_Block] = []
        for move in requests:
            if move < 0:
                self._give_back(given[~move])
                continue
            block = self._take(move)
            if block is None:
                return self._result(fits=False)
            given.append(block)
        return self._result(fits=True)

    def _result(self, *, fits: bool) -> Simulated:
        return Simulated(fits=fits, peak_allocated_bytes=self._peak_allocated, peak_reserved_bytes=self._peak_reserved)

    def _take(self, requested_bytes: int) -> _Block | None:
        size = self._rules.round_size(requested_bytes)
        small = size <= SMALL_BYTES
        block = self._find(size, small) or self._new_segment(size, small)
        if block is None:
            self._release_cached()
            block = self._new_segment(size, small)
        if block is None:
            return None
        self._split(block, self._rules.block_size(requested_bytes, block.size))
        self._allocated += block.size
        self._peak_allocated = max(self._peak_allocated, self._allocated)
        return block

    def _find(self, size: int, small: bool) -> _Block | None:
        free = self._free[small]
        place = bisect_left(free, (size, 0))
        if place == len(free):
            return None
        block = self._blocks[free[place][1]]
        self._forget(block)
        return block

    def _new_segment(self, size: int, small: bool) -> _Block | None:
        if small:
            length = _SMALL_SEGMENT_BYTES
        elif size < _LARGE_REQUEST_BYTES:
            length = _LARGE_SEGMENT_BYTES
        else:
            length = round_up(size, _SEGMENT_UNIT_BYTES)
        if self._available_bytes is not None and self._reserved + length > self._available_bytes:
            return None
        self._reserved += length
        self._peak_reserved = max(self._peak_reserved, self._reserved)
        return _Block(address=self._addresses.next(length), size=length, small=small)

    def _release_cached(self) -> None:
        """Give every segment back that is one free block."""
        for block in [block for block in self._blocks.values() if block.before is None and block.after is None]:
            self._forget(block)
            self._reserved -= block.size

    def _split(self, block: _Block, size: int) -> None:
        if size == block.size:
            return
        rest = _Block(
            address=block.address + size,
            size=block.size - size,
            small=block.small,
            before=block,
            after=block.after,
        )
        if rest.after is not None:
            rest.after.before = rest
        block.size, block.after = size, rest
        self._remember(rest)

    def _give_back(self, block: _Block) -> None:
        self._allocated -= block.size
        before, after = block.before, block.after
        if before is not None and before.free:
            self._forget(before)
            block.address, block.size, block.before = before.address, before.size + block.size, before.before
            if block.before is not None:
                block.before.after = block
        if after is not None and after.free:
            self._forget(after)
            block.size, block.after = block.size + after.size, after.after
            if block.after is not None:
                block.after.before = block
        self._remember(block)

    def _remember(self, block: _Block) -> None:
        block.free = True
        insort(self._free[block.small], (block.size, block.address))
        self._blocks[block.address] = block

    def _forget(self, block: _Block) -> None:
        block.free = False
        free = self._free[block.small]
        del free[bisect_left(free, (block.size, block.address))]
        del self._blocks[block.address]
