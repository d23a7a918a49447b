"""Bytes and percentages as text, and back."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from memprof.units import GIB, MIB, format_bytes, format_percent, format_share, parse_bytes, round_up

UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}


@pytest.mark.parametrize(
    ("value_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (407_080, "397.54 KiB"),
        (3_249_144_832, "3.03 GiB"),
        (-1536, "-1.50 KiB"),
        (5000 * 1024**4, "5,000.00 TiB"),
    ],
)
def test_format_bytes_uses_the_unit_that_keeps_it_below_1000(value_bytes: int, text: str) -> None:
    assert format_bytes(value_bytes) == text


def test_format_bytes_signed_has_a_plus_only_above_zero() -> None:
    assert [format_bytes(v, signed=True) for v in (2048, 0, -2048)] == ["+2.00 KiB", "0 B", "-2.00 KiB"]


def test_format_of_unknown_is_a_dash() -> None:
    assert (format_bytes(None), format_percent(None)) == ("-", "-")


def test_format_percent_has_one_decimal_and_its_sign() -> None:
    shown = [format_percent(12.345), format_percent(-3.0), format_percent(7684.8), format_percent(80.0, signed=False)]
    assert shown == ["+12.3 %", "-3.0 %", "+7,684.8 %", "80.0 %"]


@given(st.integers(min_value=0, max_value=2**60))
def test_format_bytes_reads_back_within_half_of_its_last_digit(value_bytes: int) -> None:
    text = format_bytes(value_bytes).replace(",", "")
    half_digit = 0.005 * UNITS[text.split()[1]]
    assert abs(parse_bytes(text) - value_bytes) <= half_digit + 0.5


@given(st.integers(min_value=1, max_value=2**60))
@example(999_995 * 1024 // 1000)
@example(999_995 * 1024 // 1000 + 1)
def test_format_bytes_changes_the_unit_at_1000(value_bytes: int) -> None:
    number, unit = format_bytes(value_bytes).replace(",", "").split()
    assert unit == "TiB" or float(number) < (1024 if unit == "B" else 1000)
    names = list(UNITS)
    smaller = names[max(names.index(unit) - 1, 0)]
    assert unit == "B" or value_bytes >= (1024 if smaller == "B" else 999.995 * UNITS[smaller])


@given(st.integers(min_value=0, max_value=2**20), st.sampled_from(sorted(UNITS)), st.sampled_from(["", " "]))
def test_parse_bytes_reads_whole_numbers_exactly(number: int, unit: str, space: str) -> None:
    assert parse_bytes(f"{number}{space}{unit}") == number * UNITS[unit]


def test_parse_bytes_distinguishes_decimal_units() -> None:
    assert parse_bytes("4GB") == 4 * 10**9
    assert parse_bytes("4gib") == parse_bytes("4 GIB") == 4 * 1024**3
    assert [parse_bytes(f"1{unit}") for unit in ("kB", "MB", "TB")] == [10**3, 10**6, 10**12]


def test_parse_bytes_of_a_bare_number_is_bytes() -> None:
    assert parse_bytes(" 1048576 ") == 1024**2


@pytest.mark.parametrize("text", ["", "16Gib/s", "16G", "-1MiB", "1e9", "GiB", "1.5.2KiB"])
def test_parse_bytes_refuses_other_text_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size; write for example 16GiB, 16GB or 1048576"):
        parse_bytes(text)


@given(st.integers(min_value=0, max_value=2**60), st.integers(min_value=1, max_value=2**30))
def test_round_up_gives_the_nearest_multiple_not_below(value_bytes: int, multiple_bytes: int) -> None:
    rounded = round_up(value_bytes, multiple_bytes)
    assert rounded % multiple_bytes == 0
    assert value_bytes <= rounded < value_bytes + multiple_bytes


@pytest.mark.parametrize(
    ("part_bytes", "whole_bytes", "text"),
    [
        (14 * GIB, 16 * GIB, "14.00 of 16.00 GiB (88 %)"),
        (16 * GIB, 16 * GIB, "16.00 of 16.00 GiB (100 %)"),
        (16 * GIB - 1, 16 * GIB, "16.00 of 16.00 GiB (99 %)"),
        (100 * MIB, 16 * GIB, "100.00 MiB of 16.00 GiB (< 1 %)"),
        (3 * MIB, 8 * MIB, "3.00 of 8.00 MiB (38 %)"),
    ],
)
def test_format_share_has_one_unit_and_a_percentage(part_bytes: int, whole_bytes: int, text: str) -> None:
    assert format_share(part_bytes, whole_bytes) == text
