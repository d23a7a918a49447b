"""The segments before a history, from the snapshot at its end; random work is in `test_replay_on_phantom`."""

from __future__ import annotations

from typing import Any

from memprof.allocator import Trace
from memprof.allocator.initial_state import segments_before
from memprof.units import MIB


def entry(action: str, address: int, size: int) -> dict[str, Any]:
    return {"action": action, "addr": address, "size": size, "frames": []}


def segment(address: int, total_size: int, *blocks: tuple[str, int, int], device: int = 0) -> dict[str, Any]:
    return {
        "device": device,
        "address": address,
        "total_size": total_size,
        "blocks": [{"state": state, "size": size, "requested_size": requested} for state, size, requested in blocks],
    }


def before(
    entries: list[dict[str, Any]], segments: list[dict[str, Any]], **settings: Any
) -> list[tuple[int, int, list[tuple[int, int, int]]]]:
    snapshot = {"device_traces": [entries], "segments": segments, "allocator_settings": settings}
    trace = Trace()
    trace.extend(snapshot)
    return [
        (s["address"], s["total_size"], [(b["address"], b["requested_size"], b["size"]) for b in s["blocks"]])
        for s in segments_before(snapshot, trace)
    ]


def test_segments_before_keeps_blocks_alive_at_the_end() -> None:
    end = segment(
        0, 2 * MIB, ("active_allocated", 1024, 600), ("active_allocated", 512, 8), ("inactive", 2 * MIB - 1536, 0)
    )
    found = before([entry("alloc", 1024, 8)], [end, segment(0, 4 * MIB, device=1)])
    assert found == [(0, 2 * MIB, [(0, 600, 1024)])]


def test_segments_before_infers_length_of_freed_blocks() -> None:
    whole = segment(0, 20 * MIB, ("active_allocated", 4 * MIB, 4 * MIB), ("inactive", 16 * MIB, 0))
    # A request for 15.5 of the last 16 MiB leaves not more than 1 MiB, so the block takes all.
    found = before([entry("free_requested", 4 * MIB, 15 * MIB + MIB // 2)], [whole])
    assert found == [(0, 20 * MIB, [(0, 4 * MIB, 4 * MIB), (4 * MIB, 15 * MIB + MIB // 2, 16 * MIB)])]


def test_segments_before_undoes_segment_events() -> None:
    entries = [
        entry("free_requested", 8 * MIB, 2 * MIB),
        entry("segment_free", 8 * MIB, 2 * MIB),
        entry("segment_alloc", 0, 2 * MIB),
        entry("alloc", 0, 2 * MIB),
    ]
    found = before(entries, [segment(0, 2 * MIB, ("active_allocated", 2 * MIB, 2 * MIB))])
    assert found == [(8 * MIB, 2 * MIB, [(8 * MIB, 2 * MIB, 2 * MIB)])]


def test_segments_before_undoes_expandable_mappings() -> None:
    entries = [entry("segment_unmap", 2 * MIB, 2 * MIB), entry("segment_map", 6 * MIB, 2 * MIB)]
    ends = [segment(0, 2 * MIB), segment(4 * MIB, 4 * MIB)]
    found = before(entries, ends, expandable_segments=True)
    assert [(address // MIB, size // MIB) for address, size, _ in found] == [(0, 2), (2, 2), (4, 2)]


def test_segments_before_ignores_blocks_of_the_history() -> None:
    assert before([entry("alloc", 0, 8), entry("free_requested", 0, 8)], [segment(0, 2 * MIB)]) == [(0, 2 * MIB, [])]
