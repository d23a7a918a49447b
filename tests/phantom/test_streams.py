"""Launches, streams, events, and a capture of graphs that agrees with itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

Figures = Callable[..., Mapping[str, Any]]
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


def test_the_last_error_is_told_once(runtime: Mapping[str, Any]) -> None:
    assert runtime["launches"]["last_errors"] == [INVALID_CONFIGURATION, 0]


def test_launch_configurations_nest_and_come_back_as_they_were_pushed(runtime: Mapping[str, Any]) -> None:
    assert runtime["configurations"] == [[2, 2, 3, 4, 5, 2, 2, 2], [1, 2, 3, 4, 5, 1, 1, 1]]


def test_a_stream_is_captured_from_begin_to_end(runtime: Mapping[str, Any]) -> None:
    assert runtime["capture"]["states"] == [0, 1, 0]
    assert runtime["capture"]["begun"] == [0, ILLEGAL_STATE]
    assert runtime["capture"]["ended"] == [0, ILLEGAL_STATE]


def test_each_launch_and_fill_in_a_capture_is_a_node(runtime: Mapping[str, Any]) -> None:
    assert runtime["capture"]["nodes"] == 2


def test_the_legacy_stream_cannot_be_captured(runtime: Mapping[str, Any]) -> None:
    assert runtime["capture"]["legacy"] == CAPTURE_UNSUPPORTED


def test_torch_knows_when_it_is_capturing_and_replays_the_graph(streams: Mapping[str, Any]) -> None:
    assert streams["capture"] == {"states": [False, True, False], "shape": [10, 10]}


def test_a_stream_that_waits_for_a_captured_one_is_captured_until_the_capture_ends(
    streams: Mapping[str, Any],
) -> None:
    assert streams["forked"] == [True, False]


def test_the_memory_of_a_graph_is_kept_until_the_graph_is_gone(streams: Mapping[str, Any]) -> None:
    assert streams["pool"] == {"held": 64 << 20, "with_graph": 64 << 20, "without": 0}


def test_a_model_can_be_made_of_graphs_and_trained(streams: Mapping[str, Any]) -> None:
    assert streams["graphed"] == {"gradients": True}


def test_every_event_has_happened_and_took_a_moment(streams: Mapping[str, Any]) -> None:
    assert streams["events"]["query"]
    assert streams["events"]["milliseconds"] > 0
    assert streams["synchronized"]


def test_streams_keep_their_priorities(streams: Mapping[str, Any]) -> None:
    assert streams["priorities"] == [0, -1]
