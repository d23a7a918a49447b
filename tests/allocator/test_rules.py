"""The allocator's rounding and splitting, against what its documentation and its source say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memprof.allocator import AllocatorRules
from memprof.units import GIB, MIB

sizes = st.integers(0, 8 * GIB)


def with_divisions(count: int) -> AllocatorRules:
    return AllocatorRules(power2_divisions={MIB << step: count for step in range(16)})


@pytest.mark.parametrize(
    ("requested_bytes", "rounded_bytes"),
    [(0, 512), (1, 512), (512, 512), (513, 1024), (MIB, MIB), (MIB + 1, MIB + 512), (3 * GIB, 3 * GIB)],
)
def test_round_size_is_a_multiple_of_512_bytes(requested_bytes: int, rounded_bytes: int) -> None:
    assert AllocatorRules().round_size(requested_bytes) == rounded_bytes


@pytest.mark.parametrize(
    ("divisions", "requested_bytes", "rounded_bytes"),
    [
        (4, 1200 * MIB, 1280 * MIB),  # PyTorch's own example: 1024, 1280, 1536 and 1792
        (4, 1280 * MIB, 1280 * MIB),
        (4, 1281 * MIB, 1536 * MIB),
        (4, 1793 * MIB, 2048 * MIB),
        (4, 1024 * MIB, 1024 * MIB),
        (8, 1200 * MIB, 1280 * MIB),
        (4, 2048, 2048),  # up to 512 B times the divisions nothing but 512 B counts
        (4, 1200, 1536),
        (4, 2049, 2560),
    ],
)
def test_round_size_with_divisions_is_the_next_one(divisions: int, requested_bytes: int, rounded_bytes: int) -> None:
    assert with_divisions(divisions).round_size(requested_bytes) == rounded_bytes


@given(sizes)
def test_round_size_adds_less_than_512_bytes(requested: int) -> None:
    rounded = AllocatorRules().round_size(requested)
    assert rounded % 512 == 0
    assert max(requested, 512) <= rounded < requested + 512 or rounded == 512


@given(sizes, st.sampled_from([2, 4, 8, 16]))
def test_round_size_adds_at_most_one_division(requested: int, divisions: int) -> None:
    rounded = with_divisions(divisions).round_size(requested)
    assert requested <= rounded
    assert rounded % 512 == 0
    assert rounded - requested < max(512, requested / divisions + 1) or rounded == 512
    assert with_divisions(divisions).round_size(rounded) == rounded


@pytest.mark.parametrize(
    ("rules", "requested", "free", "length"),
    [
        (AllocatorRules(), 1000, 2 * MIB, 1024),  # the small pool splits off whatever is left
        (AllocatorRules(), 1000, 1024 + 512, 1024),
        (AllocatorRules(), 2 * MIB, 3 * MIB, 3 * MIB),  # a large block only more than 1 MiB
        (AllocatorRules(), 2 * MIB, 3 * MIB + 512, 2 * MIB),
        (AllocatorRules(expandable_segments=True), 2 * MIB, 2 * MIB + 512, 2 * MIB),
        (AllocatorRules(max_split_bytes=32 * MIB), 32 * MIB, 64 * MIB, 64 * MIB),
        (AllocatorRules(max_split_bytes=32 * MIB), 31 * MIB, 64 * MIB, 31 * MIB),
        (AllocatorRules(), 5 * MIB, 0, 5 * MIB),  # the segment is not known
    ],
)
def test_block_size_splits_off_the_remainder(rules: AllocatorRules, requested: int, free: int, length: int) -> None:
    assert rules.block_size(requested, free) == length


@given(sizes, sizes, st.booleans(), st.none() | st.integers(20 * MIB, GIB))
def test_block_size_is_rounded_request_or_whole_block(
    requested: int, free: int, expandable: bool, most: int | None
) -> None:
    rules = AllocatorRules(expandable_segments=expandable, max_split_bytes=most)
    length, rounded = rules.block_size(requested, free), rules.round_size(requested)
    assert length == rounded or length == free > rounded


def test_rules_of_snapshot_have_its_settings() -> None:
    settings = {
        "expandable_segments": True,
        "max_split_size": 64 * MIB,
        "roundup_power2_divisions": {"1": 0, "2": 1, "256": 4},
    }
    rules = AllocatorRules.of_snapshot({"allocator_settings": settings})
    assert (rules.expandable_segments, rules.max_split_bytes) == (True, 64 * MIB)
    assert rules.power2_divisions == {256 * MIB: 4}
    assert (rules.round_size(300 * MIB), rules.round_size(200 * MIB + 1)) == (320 * MIB, 200 * MIB + 512)


def test_rules_of_snapshot_without_settings_are_defaults() -> None:
    assert AllocatorRules.of_snapshot({}) == AllocatorRules()
    assert AllocatorRules.of_snapshot({"allocator_settings": {"max_split_size": -1}}) == AllocatorRules()
