"""The taken addresses of a device, against a model that looks at every half MiB."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from memprof.allocator import AllocatorRules
from memprof.allocator.block_map import Blocks
from memprof.units import MIB

UNIT = MIB // 2
SEGMENT = 8 * UNIT


class Cells:
    """The same, cell by cell: which segment it belongs to, and what takes it."""

    def __init__(self, rules: AllocatorRules) -> None:
        self.rules = rules
        self.segments: dict[int, int] = {}
        self.takers: dict[int, int] = {}

    def add_segment(self, address: int) -> None:
        self.segments.update(dict.fromkeys(range(address, address + SEGMENT, UNIT), address))

    def remove_segment(self, address: int) -> None:
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
    st.lists(
        st.tuples(st.sampled_from(["add", "remove", "take", "take", "free"]), st.integers(0, 31), st.integers(0, 7))
    ),
)
def test_blocks_take_agrees_with_a_model_of_cells(splits: bool, requests: list[tuple[str, int, int]]) -> None:
    rules = AllocatorRules(max_split_bytes=None if splits else 3 * UNIT)
    blocks, cells = Blocks(rules), Cells(rules)
    for action, place, number in requests:
        address, segment = place * UNIT, place * UNIT // SEGMENT * SEGMENT
        free = cells.free_bytes(address)
        if action == "add" and segment not in cells.segments:
            blocks.add_segment(segment, SEGMENT)
            cells.add_segment(segment)
        elif action == "remove" and cells.free_bytes(segment) == SEGMENT:
            blocks.remove_segment(segment)
            cells.remove_segment(segment)
        elif action == "take" and free:
            requested = UNIT * (1 + number % (free // UNIT))
            assert blocks.take(address, requested) == cells.take(address, requested)
        elif action == "free" and cells.takers:
            taker = sorted(set(cells.takers.values()))[number % len(set(cells.takers.values()))]
            blocks.give_back(taker)
            cells.give_back(taker)


def test_blocks_take_ends_at_next_block_or_segment_end() -> None:
    blocks = Blocks(AllocatorRules())
    blocks.add_segment(0, 4 * MIB)
    blocks.add_segment(4 * MIB, 4 * MIB)
    assert blocks.take(0, 3 * MIB) == 4 * MIB
    blocks.give_back(0)
    blocks.take_known(5 * MIB // 2)
    assert blocks.take(0, 2 * MIB) == 5 * MIB // 2
    blocks.remove_segment(4 * MIB)
    assert blocks.take(4 * MIB, 3 * MIB) == 3 * MIB


def test_blocks_unknown_address_changes_nothing() -> None:
    blocks = Blocks(AllocatorRules())
    blocks.give_back(4096)
    blocks.remove_segment(0)
    assert blocks.take(4096, 100) == 512
