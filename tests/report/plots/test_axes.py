"""Round numbers along the axes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from memprof.report.plots.axes import batch_axis, byte_axis
from memprof.units import GIB, KIB, MIB


def test_byte_axis_ticks_are_round_in_unit() -> None:
    axis = byte_axis(5_956_882_432)  # 5.55 GiB
    assert axis.unit == "GiB"
    assert [axis.number(tick) for tick in axis.tick_bytes] == ["0", "2", "4", "6"]
    assert axis.tick_bytes[1] == 2 * GIB
    assert byte_axis(900 * KIB).unit == "KiB"
    assert [byte_axis(2 * GIB).number(tick) for tick in byte_axis(2 * GIB).tick_bytes] == ["0", "0.5", "1", "1.5", "2"]


@given(st.integers(min_value=1, max_value=2**50))
def test_byte_axis_contains_highest_value_and_few_ticks(highest_bytes: int) -> None:
    axis = byte_axis(highest_bytes)
    assert highest_bytes < axis.top_bytes <= 1.13 * max(highest_bytes, KIB)
    assert axis.tick_bytes[0] == 0
    assert axis.tick_bytes[-1] <= axis.top_bytes
    assert 2 <= len(axis.tick_bytes) <= 7
    assert len({axis.number(tick) for tick in axis.tick_bytes}) == len(axis.tick_bytes)


def test_byte_axis_without_values_has_height() -> None:
    assert byte_axis(0).top_bytes > 0


def test_batch_axis_growth_by_factors_is_logarithmic() -> None:
    assert batch_axis([16, 64, 256, 1024, 4096]).logarithmic
    assert batch_axis([8, 16, 32, 64]).logarithmic
    assert not batch_axis([16, 20, 24]).logarithmic
    assert not batch_axis(range(16, 1500, 48)).logarithmic
    assert not batch_axis([1, 64]).logarithmic
    assert not batch_axis([64]).logarithmic
    assert batch_axis([64]).ticks == (64,)


@given(st.sets(st.integers(min_value=1, max_value=100_000), min_size=1))
def test_batch_axis_labels_largest_size_and_no_overlap(sizes: set[int]) -> None:
    axis = batch_axis(sorted(sizes))
    assert axis.ticks[-1] == max(sizes)
    assert set(axis.ticks) <= sizes
    assert list(axis.ticks) == sorted(axis.ticks)
    assert len(axis.ticks) <= 11


def test_byte_axis_from_1000_takes_next_unit() -> None:
    assert byte_axis(999 * MIB).unit == "MiB"
    assert byte_axis(1000 * MIB).unit == "GiB"
