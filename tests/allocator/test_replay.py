"""The replay of small histories: lifetimes, totals and peaks that can be added up by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memprof.allocator import PREEXISTING, Action, AllocatorRules, Event, Replay, SnapshotError, Trace, replay
from memprof.allocator.simulator import simulate
from memprof.units import KIB, MIB

A, B, C = 0, 4 * MIB, 8 * MIB


def history(*events: tuple[Action, int, int]) -> Trace:
    trace = Trace()
    for action, address, size in events:
        trace.append(Event(action, address, size, -1))
    return trace


def allocated(found: Replay) -> list[int]:
    return [found.instant(position).allocated_bytes for position in range(len(found.requests) + 1)]


def alive(found: Replay) -> list[int]:
    """The same from the lifetimes."""
    return [
        sum(found.allocations[index].block_bytes for index in found.alive_at(position))
        for position in range(len(found.requests) + 1)
    ]


def test_replay_short_history_gives_lifetimes_and_totals() -> None:
    found = replay(
        history(
            (Action.SEGMENT_ALLOC, A, 2 * MIB),
            (Action.ALLOC, A, 1000),
            (Action.ALLOC, A + 1024, 100),
            (Action.FREE_REQUESTED, A, 1000),
            (Action.FREE_COMPLETED, A, 1000),
            (Action.ALLOC, A, 600),
            (Action.FREE_REQUESTED, A + 1024, 100),
            (Action.FREE_COMPLETED, A + 1024, 100),
        )
    )
    assert allocated(found) == alive(found) == [0, 1024, 1536, 512, 1536, 1024]
    assert [(a.allocated_at, a.freed_at, a.block_bytes) for a in found.allocations] == [
        (0, 2, 1024),
        (1, 4, 512),
        (3, None, 1024),
    ]
    assert list(found.requests) == [0, 1, ~0, 2, ~1]
    assert found.peak.position == 2  # the first of the two
    assert found.peak_reserved_bytes == 2 * MIB


def test_replay_block_in_use_by_a_stream_is_not_reused() -> None:
    found = replay(
        history(
            (Action.SEGMENT_ALLOC, A, 4 * MIB),
            (Action.ALLOC, A, 2 * MIB),
            (Action.FREE_REQUESTED, A, 2 * MIB),
            (Action.ALLOC, A + 2 * MIB, MIB + 1),
            (Action.FREE_COMPLETED, A, 2 * MIB),
            (Action.FREE_REQUESTED, A + 2 * MIB, MIB + 1),
            (Action.FREE_COMPLETED, A + 2 * MIB, MIB + 1),
            (Action.ALLOC, A, 3 * MIB),
        )
    )
    # The second gets only what follows the first; the third gets all, since not more than 1 MiB is left.
    assert allocated(found) == [0, 2 * MIB, 0, 2 * MIB, 0, 4 * MIB]


def test_replay_reserved_peak_may_lie_between_requests() -> None:
    found = replay(
        history(
            (Action.SEGMENT_ALLOC, A, 2 * MIB),
            (Action.ALLOC, A, 2 * MIB),
            (Action.SEGMENT_ALLOC, B, 2 * MIB),
            (Action.SEGMENT_FREE, B, 2 * MIB),
            (Action.OOM, 0, 80 * MIB),
            (Action.ALLOC, A, 512),
        )
    )
    assert found.peak_reserved_bytes == 4 * MIB
    assert list(found.reserved_bytes) == [2 * MIB, 2 * MIB]


def test_replay_reserved_peak_is_its_fullest_moment() -> None:
    found = replay(
        history(
            (Action.SEGMENT_ALLOC, A, 2 * MIB),
            (Action.ALLOC, A, 1000),
            (Action.ALLOC, A + KIB, 1000),
            (Action.FREE_REQUESTED, A, 1000),
            (Action.SEGMENT_FREE, A, 2 * MIB),
            (Action.ALLOC, B, 5000),
        )
    )
    assert (found.reserved_peak.position, found.reserved_peak.allocated_bytes) == (2, 2 * KIB)


def test_replay_counts_initial_segments_from_the_start() -> None:
    segment = {
        "address": A,
        "total_size": 2 * MIB,
        "blocks": [
            {"state": "active_allocated", "size": 1024, "requested_size": 1000},  # no address: torch before 2.2
            {"state": "active_pending_free", "size": 1024, "requested_size": 1000},
            {"state": "inactive", "size": 2 * MIB - 2048},
        ],
    }
    found = replay(history((Action.ALLOC, A + 2 * KIB, 1), (Action.FREE_REQUESTED, A, 1000)), [segment])
    assert allocated(found) == alive(found) == [1024, 1536, 512]
    assert [(a.allocated_at, a.freed_at) for a in found.allocations] == [(PREEXISTING, 1), (0, None)]
    assert found.reserved_peak.reserved_bytes == found.peak_reserved_bytes == 2 * MIB


def test_replay_initial_block_in_use_by_a_stream_is_taken() -> None:
    states = (("inactive", 5 * MIB // 2), ("active_pending_free", 3 * MIB // 2))
    blocks = [{"state": state, "size": size, "requested_size": size} for state, size in states]
    segment = {"address": A, "total_size": 4 * MIB, "blocks": blocks}
    found = replay(
        history((Action.ALLOC, A, 2 * MIB), (Action.FREE_COMPLETED, A + 5 * MIB // 2, 3 * MIB // 2)), [segment]
    )
    # The half MiB before it is not split off; after it there would be two.
    assert allocated(found) == [0, 5 * MIB // 2]


def test_replay_expandable_segment_counts_mapped_parts() -> None:
    trace = history(
        (Action.SEGMENT_MAP, A, 20 * MIB),
        (Action.ALLOC, A, 19 * MIB + 512),
        (Action.SEGMENT_MAP, A + 20 * MIB, 20 * MIB),
        (Action.ALLOC, A + 19 * MIB + 512, 20 * MIB),
        (Action.SEGMENT_UNMAP, A, 20 * MIB),
        (Action.FREE_REQUESTED, A, 19 * MIB + 512),
    )
    trace.rules = AllocatorRules(expandable_segments=True)
    found = replay(trace)
    assert allocated(found) == [0, 19 * MIB + 512, 39 * MIB + 512, 20 * MIB]
    assert list(found.reserved_bytes) == [20 * MIB, 40 * MIB, 20 * MIB]


def test_replay_counts_blocks_seen_only_when_freed() -> None:
    trace = history(
        (Action.ALLOC, B, 512),
        (Action.FREE_REQUESTED, A, 1000),
        (Action.FREE_REQUESTED, C, 2000),
        (Action.SEGMENT_FREE, A, 2 * MIB),
        (Action.ALLOC, B + 512, 1),
    )
    found = replay(trace)
    assert allocated(found) == alive(found) == [3 * KIB, 3 * KIB + 512, 2 * KIB + 512, 512, KIB]
    assert found.peak.allocated_bytes == 3 * KIB + 512
    assert (found.start_reserved_bytes, found.peak_reserved_bytes) == (2 * MIB, 2 * MIB)
    assert list(found.reserved_bytes) == [2 * MIB, 2 * MIB, 2 * MIB, 0]


def test_replay_empty_history_has_an_empty_peak() -> None:
    found = replay(Trace())
    assert (found.peak.position, found.peak.allocated_bytes, found.reserved_peak.reserved_bytes) == (0, 0, 0)


@given(st.lists(st.tuples(st.integers(1, 60 * MIB), st.booleans(), st.integers(0, 50)), max_size=60))
def test_replay_peaks_equal_the_simulated_ones(requests: list[tuple[int, bool, int]]) -> None:
    """One request a segment, which is never used again: then the totals follow from the sizes alone."""
    trace, given, kept = Trace(), list[int](), list[int]()
    for place, (size, frees, choice) in enumerate(requests):
        given.append(size)
        kept.append(place)
        trace.append(Event(Action.SEGMENT_ALLOC, place * 128 * MIB, 128 * MIB, -1))
        trace.append(Event(Action.ALLOC, place * 128 * MIB, size, -1))
        if frees:
            gone = kept.pop(choice % len(kept))
            given.append(~gone)
            trace.append(Event(Action.FREE_REQUESTED, gone * 128 * MIB, requests[gone][0], -1))
    found = replay(trace)
    assert allocated(found) == alive(found)
    assert len(found.requests) == len(given)
    # A segment of 128 MiB always leaves enough to be split off; the allocator's own may leave up to 1 MiB in a block.
    simulated = simulate(given, None).peak_allocated_bytes
    assert found.peak.allocated_bytes <= simulated <= found.peak.allocated_bytes + MIB * len(requests)


def entry(action: str, address: int, size: int, **more: Any) -> dict[str, Any]:
    return {"action": action, "addr": address, "size": size, "frames": [], "stream": 0, **more}


def test_trace_extend_skips_entries_that_move_no_memory() -> None:
    oom = {"action": "oom", "size": 5, "device_free": 7, "frames": []}
    events = [entry("alloc", 1, 2), entry("snapshot", 0, 0), oom, entry("free_completed", 1, 2)]
    trace = Trace()
    trace.extend({"device_traces": [[], events]}, device=1)
    trace.extend({"device_traces": [[], events[:1]]}, device=1)
    assert [(event.action, event.address, event.size_bytes) for event in trace] == [
        (Action.ALLOC, 1, 2),
        (Action.OOM, 0, 5),
        (Action.FREE_COMPLETED, 1, 2),
        (Action.ALLOC, 1, 2),
    ]


@pytest.mark.parametrize("snapshot", [{}, {"device_traces": []}, {"device_traces": ["no list"]}, [1], None])
def test_trace_extend_without_a_snapshot_raises(snapshot: Any) -> None:
    with pytest.raises(SnapshotError, match="no memory snapshot"):
        Trace().extend(snapshot)
