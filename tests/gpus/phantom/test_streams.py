"""Launches, streams, events, and the rule for when their work is done (csrc/stream_table.c)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

Figures = Callable[..., Mapping[str, Any]]
QUEUE_DEPTH = 1024
INVALID_CONFIGURATION, ILLEGAL_STATE, CAPTURE_UNSUPPORTED = 9, 401, 900


@pytest.fixture(scope="module")
def streams(figures: Figures) -> Mapping[str, Any]:
    return figures("streams.py")


@pytest.fixture(scope="module")
def runtime(figures: Figures) -> Mapping[str, Any]:
    return figures("runtime.py")


@pytest.mark.parametrize("shape", ["plain", "wide grid"])
def test_a_launch_that_a_gpu_takes_succeeds(shape: str, runtime: Mapping[str, Any]) -> None:
    assert runtime["launches"][shape] == 0


@pytest.mark.parametrize(
    "shape",
    ["too many threads", "too many threads in all", "deep block", "high grid", "empty grid", "empty block"],
)
def test_a_launch_that_no_gpu_takes_is_an_invalid_configuration(shape: str, runtime: Mapping[str, Any]) -> None:
    assert runtime["launches"][shape] == INVALID_CONFIGURATION


def test_last_error_is_reported_once(runtime: Mapping[str, Any]) -> None:
    assert runtime["launches"]["last_errors"] == [INVALID_CONFIGURATION, 0]


def test_nested_launch_configurations_pop_as_they_were_pushed(runtime: Mapping[str, Any]) -> None:
    assert runtime["configurations"] == [[2, 2, 3, 4, 5, 2, 2, 2], [1, 2, 3, 4, 5, 1, 1, 1]]


def test_a_stream_is_captured_from_begin_to_end(runtime: Mapping[str, Any]) -> None:
    assert runtime["capture"]["states"] == [0, 1, 0]
    assert runtime["capture"]["begun"] == [0, ILLEGAL_STATE]
    assert runtime["capture"]["ended"] == [0, ILLEGAL_STATE]


def test_each_launch_and_fill_in_a_capture_is_a_node(runtime: Mapping[str, Any]) -> None:
    assert runtime["capture"]["nodes"] == 2


def test_the_legacy_stream_cannot_be_captured(runtime: Mapping[str, Any]) -> None:
    assert runtime["capture"]["legacy"] == CAPTURE_UNSUPPORTED


def test_event_is_not_done_before_a_wait_and_polling_ends(streams: Mapping[str, Any]) -> None:
    asked = streams["asked"]
    assert not asked["first"]
    assert asked["never_recorded"]
    assert asked["questions"] == QUEUE_DEPTH


def test_work_is_done_after_a_full_queue_of_later_work(streams: Mapping[str, Any]) -> None:
    assert streams["overtaken"] == [False, True]  # after 700 and 1400 launches


def test_work_on_an_idle_gpu_is_done_at_once(figures: Figures) -> None:
    found = figures("streams.py", MEMPROF_PHANTOM_QUEUE="0")
    assert found["overtaken"] == [True, True]
    assert found["shared_block"]["while_busy"]  # it is free, and used again


def test_waiting_for_a_stream_includes_what_it_waited_for(streams: Mapping[str, Any]) -> None:
    assert streams["waited"] == {"joined": True, "apart": False}


def test_block_used_by_another_stream_is_kept_until_its_event(
    streams: Mapping[str, Any],
) -> None:
    assert streams["shared_block"] == {"while_busy": False, "when_done": True}


def test_a_block_of_one_stream_is_free_at_once(streams: Mapping[str, Any]) -> None:
    assert streams["plain_block"]


def test_elapsed_time_is_unknown_before_events_are_done(streams: Mapping[str, Any]) -> None:
    assert "must be completed" in streams["timing"]


def test_event_after_a_wait_is_done_with_a_constant_time(streams: Mapping[str, Any]) -> None:
    assert streams["events"]["query"]
    assert streams["events"]["milliseconds"] == 10
    assert streams["synchronized"]


def test_streams_keep_their_priorities(streams: Mapping[str, Any]) -> None:
    assert streams["priorities"] == [0, -1]
