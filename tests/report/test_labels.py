"""The words that every output shares."""

from __future__ import annotations

import pytest

from memprof.breakdown.explanation import CACHED, CONTEXT, ROUNDING
from memprof.records import Source, StopReason
from memprof.report.labels import (
    MONITOR_MEANINGS,
    SOURCE_MEANINGS,
    STOP_REASONS,
    gpu_label,
    level_meaning,
    ordinal,
    part_name,
    short_part_name,
    source_note,
)


def test_every_source_and_stop_reason_has_words() -> None:
    assert set(SOURCE_MEANINGS) == set(Source)
    assert set(MONITOR_MEANINGS) == {Source.MEASURED, Source.EMULATED}
    assert set(STOP_REASONS) == set(StopReason)


def test_source_note_begins_with_the_source() -> None:
    assert [source_note(source).partition(":")[0] for source in Source] == list(Source)


def test_gpu_label_marks_only_emulated_gpus() -> None:
    labels = [gpu_label("t4", source) for source in (*Source, "emulated", None)]
    assert labels == ["t4", "t4 (phantom)", "t4", "t4 (phantom)", "t4"]


def test_level_meaning_knows_each_level_and_what_is_between() -> None:
    known = {
        level_meaning(name) for name in ("requested", "allocated", "reserved", "device", ROUNDING, CACHED, CONTEXT)
    }
    assert len(known) == 7
    assert level_meaning("context and other processes") == "when NVML was read, after the peak"


@pytest.mark.parametrize(
    ("key", "name", "short"),
    [
        ("optimizer_state", "optimizer state", "opt. state"),
        ("device", "used on the device", "used on the device"),
        ("parameters", "parameters", "parameters"),
    ],
)
def test_part_name_is_the_key_in_words(key: str, name: str, short: str) -> None:
    assert (part_name(key), short_part_name(key)) == (name, short)


def test_ordinal_follows_english() -> None:
    assert [ordinal(number) for number in (1, 2, 3, 4, 11, 12, 13, 21, 112)] == [
        *("1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "112th"),
    ]
