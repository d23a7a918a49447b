"""Simulate PyTorch's caching allocator on a list of requests: what it reserves, and whether the memory suffices.

Source of the rules: c10/cuda/CUDACachingAllocator.cpp (`get_free_block`, `alloc_block`, `release_cached_blocks`,
`try_merge_blocks`, `get_allocation_size`) as of torch 2.14, without `max_split_size_mb`, expandable segments and
garbage collection, and for one stream. Among free blocks of one size the allocator takes the one in the oldest segment,
and within it the lowest address; versions before 2.12 take the lowest address of all. Here segments get ascending
addresses, which makes the two the same, unless the caller asks for another order.

A list of requests is the log of one run. A number that is not negative asks for that many bytes. A negative number,
``~index``, frees the allocation with that index, where allocations are counted from 0 in the order of their requests.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random

from memprof.allocator.address_order import AddressPolicy
from memprof.allocator.rules import SMALL_BYTES, AllocatorRules
from memprof.units import MIB, round_up

_SMALL_SEGMENT_BYTES = 2 * MIB  # kSmallBuffer
_LARGE_SEGMENT_BYTES = 20 * MIB  # kLargeBuffer, for requests below
_LARGE_REQUEST_BYTES = 10 * MIB  # kMinLargeAlloc, from which on a segment is as long as the request
_SEGMENT_UNIT_BYTES = 2 * MIB  # kRoundLarge
# AddressPolicy.DRIVER, as in phantom/csrc/arena.c: the free ranges in the chunks that a context comes with, the oldest
# first, in MiB; how far below all of them the next chunk ends; and the unit of a chunk's length.
_FIRST_GAPS, _FIRST_CHUNKS_START, _CHUNK_UNIT_BYTES = ((490, 512), (0, 414), (-8, 0)), -512, 32 * MIB
_FIRST_BY_AGE = (2, 12)  # the first PyTorch that breaks ties by the age of the segment


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
    """The result of a simulation. `fits` is False if a request failed; the peaks are those until then."""

    fits: bool
    peak_allocated_bytes: int
    peak_reserved_bytes: int


class _Addresses:
    """The addresses that CUDA gives to new segments; a freed segment's address is not used again."""

    def __init__(self, policy: AddressPolicy) -> None:
        self._policy, self._random = policy, Random(0)
        self._above = self._below = 1 << 46  # the middle of a 47-bit address space
        # The free range in each chunk, the newest last.
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
    """Return the address order with which `simulate` breaks ties as this version of PyTorch does."""
    by_age = tuple(map(int, torch_version.split(".")[:2])) >= _FIRST_BY_AGE
    return AddressPolicy.ASCENDING if by_age else AddressPolicy.DRIVER


def simulate(
    requests: Sequence[int],
    available_bytes: int | None,
    rules: AllocatorRules | None = None,
    addresses: AddressPolicy = AddressPolicy.ASCENDING,
    optional: Collection[int] = (),
) -> Simulated:
    """Serve the requests from an empty allocator.

    Args:
        requests: the log of one run, as the module's docstring describes it.
        available_bytes: what CUDA gives at most; ``None`` for any amount.
        rules: rounding and splitting; by default PyTorch's own.
        addresses: the order in which CUDA hands out addresses.
        optional: the indices of the allocations without which the run goes on if they fail. Such an allocation is a
            workspace of cuDNN: PyTorch then takes a plan with a smaller one.
    """
    return _Allocator(available_bytes, rules or AllocatorRules(), addresses).run(requests, optional)


def peak_requested(requests: Sequence[int], optional: Collection[int] = ()) -> int:
    """Return the highest sum of bytes in use: no allocator can do with less. `optional`: see `simulate`."""
    sizes = [request for request in requests if request >= 0]
    for index in optional:
        sizes[index] = 0
    allocated = iter(sizes)
    changes = (next(allocated) if request >= 0 else -sizes[~request] for request in requests)
    return max(accumulate(changes), default=0)


class _Allocator:
    def __init__(self, available_bytes: int | None, rules: AllocatorRules, addresses: AddressPolicy) -> None:
        self._available_bytes, self._rules = available_bytes, rules
        self._addresses = _Addresses(addresses)
        self._free_blocks: dict[bool, list[tuple[int, int]]] = {True: [], False: []}  # (size, address), by `small`
        self._blocks: dict[int, _Block] = {}  # the free blocks by address
        self._reserved = self._allocated = self._peak_reserved = self._peak_allocated = 0

    def run(self, requests: Sequence[int], optional: Collection[int]) -> Simulated:
        blocks: list[_Block | None] = []
        for request in requests:
            if request >= 0:
                block = self._allocate(request)
                if block is None and len(blocks) not in optional:
                    return self._result(fits=False)
                blocks.append(block)
            elif (block := blocks[~request]) is not None:
                self._free(block)
        return self._result(fits=True)

    def _result(self, *, fits: bool) -> Simulated:
        return Simulated(fits=fits, peak_allocated_bytes=self._peak_allocated, peak_reserved_bytes=self._peak_reserved)

    def _allocate(self, requested_bytes: int) -> _Block | None:
        size = self._rules.round_size(requested_bytes)
        small = size <= SMALL_BYTES
        block = self._find(size, small) or self._new_segment(size, small)
        if block is None:
            self._release_cached()
            block = self._new_segment(size, small)
        if block is None:
            return None
        self._split(block, self._rules.rounded_block_size(size, block.size))
        self._allocated += block.size
        self._peak_allocated = max(self._peak_allocated, self._allocated)
        return block

    def _find(self, size: int, small: bool) -> _Block | None:
        free = self._free_blocks[small]
        place = bisect_left(free, (size, 0))
        if place == len(free):
            return None
        block = self._blocks[free[place][1]]
        self._remove_free(block)
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
        """Free every segment that is one free block."""
        for block in [block for block in self._blocks.values() if block.before is None and block.after is None]:
            self._remove_free(block)
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
        self._add_free(rest)

    def _free(self, block: _Block) -> None:
        self._allocated -= block.size
        before, after = block.before, block.after
        if before is not None and before.free:
            self._remove_free(before)
            block.address, block.size, block.before = before.address, before.size + block.size, before.before
            if block.before is not None:
                block.before.after = block
        if after is not None and after.free:
            self._remove_free(after)
            block.size, block.after = block.size + after.size, after.after
            if block.after is not None:
                block.after.before = block
        self._add_free(block)

    def _add_free(self, block: _Block) -> None:
        block.free = True
        insort(self._free_blocks[block.small], (block.size, block.address))
        self._blocks[block.address] = block

    def _remove_free(self, block: _Block) -> None:
        block.free = False
        free = self._free_blocks[block.small]
        del free[bisect_left(free, (block.size, block.address))]
        del self._blocks[block.address]
