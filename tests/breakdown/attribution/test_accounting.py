"""Attribution of a whole history: all parts add up, also over 50,000 random events."""

from __future__ import annotations

import random
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memprof.breakdown.explanation import ROUNDING, Category, Explanation
from memprof.records import Phase
from memprof.units import MIB
from tests.breakdown.attribution.history_builder import STACKS, HistoryBuilder

PHASES = (Phase.ZERO_GRAD, Phase.FORWARD, Phase.LOSS, Phase.BACKWARD, Phase.OPTIMIZER)
MODULES = ("", "a", "a.0", "a.0.b", "c")


def random_history(seed: int, events: int) -> HistoryBuilder:
    """Steps of five phases in random modules, with random requests, frees and labels; addresses are reused."""
    numbers, history, phases = random.Random(seed), HistoryBuilder(*MODULES), cycle(PHASES)
    alive, free, step = list[int](), list[int](), 0
    while len(history.trace) < events:
        if numbers.random() < 0.02:
            phase = next(phases)
            step += phase is Phase.ZERO_GRAD
            history.enter(
                step or None, phase, numbers.choice((*MODULES, "elsewhere", None)), recomputes=numbers.random() < 0.1
            )
        if alive and numbers.random() < 0.5:
            free.append(alive.pop(numbers.randrange(len(alive))))
            history.free(free[-1])
        else:
            address = free.pop() if free and numbers.random() < 0.8 else None
            alive.append(history.allocate(numbers.randrange(2 * MIB), numbers.choice((*STACKS, None)), address))
        if alive and numbers.random() < 0.2:
            history.label(numbers.choice(alive), numbers.choice(list(Category)[:7]), module=numbers.choice(MODULES))
    return history


def assert_parts_add_up(explained: Explanation) -> None:
    peak = explained.peak_allocated_bytes
    assert sum(explained.allocated_parts.values()) == peak
    assert sum(explained.reserved_parts.values()) == explained.peak_reserved_bytes
    assert sum(block.block_bytes for block in explained.blocks) == peak
    assert sum(block.requested_bytes for block in explained.blocks) == explained.peak_requested_bytes
    assert explained.allocated_parts[ROUNDING] == peak - explained.peak_requested_bytes
    assert explained.allocated_parts[ROUNDING] <= explained.highest_parts[ROUNDING]
    assert list(explained.blocks) == sorted(explained.blocks, key=lambda block: -block.block_bytes)
    for category in Category:
        of_blocks = sum(b.requested_bytes for b in explained.blocks if b.category is category)
        assert of_blocks == explained.allocated_parts[category.value] <= explained.highest_parts[category.value]
    for other in (explained.peak, *explained.other_peaks, *explained.step_peaks):
        assert sum(other.parts.values()) == other.allocated_bytes <= peak
    timeline = explained.timeline
    heights = [sum(parts) for parts in zip(*timeline.series.values(), strict=True)]
    assert heights[timeline.positions.index(timeline.peak_position)] == peak == max(heights)
    assert list(timeline.positions) == sorted(set(timeline.positions))
    if explained.modules:
        root, rows = explained.modules[0], {row.path: row.parts for row in explained.modules}
        assert sum(root.parts.values()) + sum(explained.outside_parts.values()) == peak
        for path, parts in rows.items():
            inner = [rows[other] for other in rows if path and other.startswith(f"{path}.")]
            assert all(size <= parts[name] for row in inner for name, size in row.items())


def test_attribution_of_50_000_random_events_adds_up() -> None:
    history = random_history(seed=1, events=50_000)
    explained = history.explained()
    assert_parts_add_up(explained)
    assert explained.event_count == len(history.trace)
    assert len(explained.timeline.positions) <= 1202
    assert {block.category for block in explained.blocks} >= {Category.WORKSPACE, Category.PARAMETERS}


@given(st.integers(0, 10**6), st.integers(1, 300))
def test_attribution_of_any_short_history_adds_up(seed: int, events: int) -> None:
    assert_parts_add_up(random_history(seed, events).explained())


def test_attribution_of_empty_history_is_empty() -> None:
    explained = HistoryBuilder("").explained()
    assert explained.peak_allocated_bytes == 0
    assert explained.blocks == ()


def test_attribution_counter_excess_is_unknown_with_reason() -> None:
    history = HistoryBuilder()
    history.enter(1, Phase.FORWARD)
    history.label(history.allocate(1024), Category.PARAMETERS, "w")
    short = history.explained(peak_allocated_bytes=5 * 1024)
    assert short.peak_allocated_bytes == 5 * 1024
    assert short.allocated_parts["unknown"] == 4 * 1024
    assert short.unknown_reason == "the history and the counters differ by +4,096 B"
    assert history.explained(peak_allocated_bytes=1024).unknown_reason is None
    assert history.explained(end_allocated_bytes=1536).allocated_parts["unknown"] == 512


def test_device_parts_include_context_and_other_processes() -> None:
    history = HistoryBuilder()
    history.enter(1, Phase.FORWARD)
    block = history.allocate(1024)
    history.annotations.device_position, history.annotations.device_reserved_bytes = history.requests, 4 * MIB
    history.free(block)
    explained = history.explained(nvml_used_bytes=100 * MIB, context_bytes=90 * MIB)
    assert explained.device_parts is not None
    assert sum(explained.device_parts.values()) == 100 * MIB
    assert {name: size for name, size in explained.device_parts.items() if size} == {
        "temporary": 1024,
        "cached": 4 * MIB - 1024,
        "context": 90 * MIB,
        "other_processes": 6 * MIB,
    }
    assert history.explained(nvml_used_bytes=100 * MIB).device_parts is None


@pytest.mark.parametrize(("path", "owners"), [("a.0.b", 4), ("a.0", 3), ("", 1), (None, 0), ("a.9", 2)])
def test_module_rows_count_block_in_all_parents(path: str | None, owners: int) -> None:
    history = HistoryBuilder(*MODULES)
    history.enter(1, Phase.FORWARD, path)
    history.allocate(1000)
    explained = history.explained()
    assert sum(bool(row.parts) for row in explained.modules) == owners
    assert bool(explained.outside_parts) == (path is None)


def test_other_peaks_are_distinct_and_maxima_come_first() -> None:
    history = HistoryBuilder("a", "b", "c")
    heights = {"a": 10, "b": 30, "c": 20}
    for step in (1, 2):
        for phase in (Phase.FORWARD, Phase.BACKWARD):
            for module, size in heights.items():
                history.enter(step, phase, module)
                history.free(history.allocate(size * MIB // 20 * step))
    explained = history.explained()
    assert (explained.peak.step, explained.peak.phase, explained.peak.module) == (2, Phase.FORWARD, "b")
    places = [(peak.phase, peak.module) for peak in explained.other_peaks]
    assert places[0] == (Phase.BACKWARD, "b")
    assert len(set(places)) == len(places) == 5
    assert [peak.allocated_bytes for peak in explained.step_peaks] == [30 * MIB // 20, 60 * MIB // 20]


def test_step_peaks_omit_frees_after_last_optimizer_step() -> None:
    history = HistoryBuilder()
    history.enter(1, Phase.FORWARD)
    kept = history.allocate(1000)
    history.enter(2, Phase.ZERO_GRAD)
    history.free(kept)
    assert [peak.step for peak in history.explained().step_peaks] == [1]
