"""The places of a device, against a model of it that looks at every 512 bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from profiler.trace import AllocatorRules
from profiler.trace.blocks import Blocks
from profiler.units import MIB

UNIT = 512
SEGMENT = 4 * UNIT


class Cells:
    """The same, cell by cell: which segment it is mapped by, and what takes it."""

    def __init__(self, rules: AllocatorRules) -> None:
        self.rules = rules
        self.segments: dict[int, int] = {}
        self.takers: dict[int, int] = {}

    def map(self, address: int) -> None:
        for cell in range(address, address + SEGMENT, UNIT):
            self.segments[cell] = 0 if self.rules.expandable_segments else address

    def unmap(self, address: int) -> None:
        for cell in range(address, address + SEGMENT, UNIT):
            del self.segments[cell]

    def free_bytes(self, address: int) -> int:
        free, segment = 0, self.segments.get(address)
        while (
            segment is not None and self.segments.get(address + free) == segment and address + free not in self.takers
        ):
            free += UNIT
        return free

    def take(self, address: int, requested: int) -> int:
        length = self.rules.block_size(requested, self.free_bytes(address))
        self.takers.update(dict.fromkeys(range(address, address + length, UNIT), address))
        return length

    def give_back(self, address: int) -> None:
        self.takers = {cell: taker for cell, taker in self.takers.items() if taker != address}


@given(
    st.booleans(),
    st.lists(st.tuples(st.sampled_from(["map", "unmap", "take", "free"]), st.integers(0, 31), st.integers(0, 99))),
)
def test_a_block_is_as_long_as_the_free_cells_and_the_rules_make_it(
    expandable: bool, moves: list[tuple[str, int, int]]
) -> None:
    rules = AllocatorRules(expandable_segments=expandable)
    blocks, cells = Blocks(rules), Cells(rules)
    for action, place, number in moves:
        address, segment = place * UNIT, place * UNIT // SEGMENT * SEGMENT
        free = cells.free_bytes(address)
        if action == "map" and segment not in cells.segments:
            blocks.map(segment, SEGMENT)
            cells.map(segment)
        elif action == "unmap" and cells.free_bytes(segment) >= SEGMENT:
            blocks.unmap(segment, SEGMENT)
            cells.unmap(segment)
        elif action == "take" and free:
            requested = 1 + free * number // 100
            assert blocks.take(address, requested) == cells.take(address, requested)
        elif action == "free" and cells.takers:
            taker = sorted(set(cells.takers.values()))[number % len(set(cells.takers.values()))]
            blocks.give_back(taker)
            cells.give_back(taker)


def test_neighbouring_segments_are_one_range_only_where_they_are_parts_of_one() -> None:
    for expandable, length in ((False, 2 * MIB), (True, 2 * MIB + 1024)):
        blocks = Blocks(AllocatorRules(expandable_segments=expandable, max_split_bytes=0))
        blocks.map(0, 2 * MIB)
        blocks.map(2 * MIB, 2 * MIB)
        assert blocks.take(0, 2 * MIB + 1024 if expandable else 2 * MIB) == length


def test_a_part_between_two_others_joins_them() -> None:
    blocks = Blocks(AllocatorRules(expandable_segments=True))
    for part in (0, 2, 1):
        blocks.map(part * 2 * MIB, 2 * MIB)
    assert blocks.take(0, 6 * MIB) == 6 * MIB
    blocks.give_back(0)
    blocks.unmap(2 * MIB, 2 * MIB)
    assert blocks.take(0, 2 * MIB) == 2 * MIB
    assert blocks.take(4 * MIB, MIB) == MIB


def test_what_nobody_took_and_nobody_mapped_is_no_matter() -> None:
    blocks = Blocks(AllocatorRules())
    blocks.give_back(4096)
    blocks.unmap(0, 2 * MIB)
    assert blocks.take(4096, 100) == 512
