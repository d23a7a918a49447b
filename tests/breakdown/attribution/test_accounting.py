"""A whole history accounted for: every part sums, whatever happened, also over 50,000 random events."""

from __future__ import annotations

import random
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memprof.breakdown.explanation import ROUNDING, Category, Explanation
from memprof.records import Phase
from memprof.units import MIB
from tests.breakdown.attribution.story import STACKS, Story

PHASES = (Phase.ZERO_GRAD, Phase.FORWARD, Phase.LOSS, Phase.BACKWARD, Phase.OPTIMIZER)
MODULES = ("", "a", "a.0", "a.0.b", "c")


def random_story(seed: int, events: int) -> Story:
    """Steps of five phases in random modules, with random requests, frees and labels; addresses are used again."""
    numbers, story, places = random.Random(seed), Story(*MODULES), cycle(PHASES)
    alive, free, step = list[int](), list[int](), 0
    while len(story.trace) < events:
        if numbers.random() < 0.02:
            phase = next(places)
            step += phase is Phase.ZERO_GRAD
            story.at(
                step or None, phase, numbers.choice((*MODULES, "elsewhere", None)), recomputes=numbers.random() < 0.1
            )
        if alive and numbers.random() < 0.5:
            free.append(alive.pop(numbers.randrange(len(alive))))
            story.free(free[-1])
        else:
            again = free.pop() if free and numbers.random() < 0.8 else None
            alive.append(story.take(numbers.randrange(2 * MIB), numbers.choice((*STACKS, None)), again))
        if alive and numbers.random() < 0.2:
            story.label(numbers.choice(alive), numbers.choice(list(Category)[:7]), module=numbers.choice(MODULES))
    return story


def assert_it_adds_up(explained: Explanation) -> None:
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
    for moment in (explained.peak, *explained.next_moments, *explained.steps):
        assert sum(moment.parts.values()) == moment.allocated_bytes <= peak
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


def test_50_000_random_events_add_up() -> None:
    story = random_story(seed=1, events=50_000)
    explained = story.explained()
    assert_it_adds_up(explained)
    assert explained.events == len(story.trace)
    assert len(explained.timeline.positions) <= 1202
    assert {block.category for block in explained.blocks} >= {Category.WORKSPACE, Category.PARAMETERS}


@given(st.integers(0, 10**6), st.integers(1, 300))
def test_any_short_history_adds_up(seed: int, events: int) -> None:
    assert_it_adds_up(random_story(seed, events).explained())


def test_nothing_at_all_is_explained_as_nothing() -> None:
    explained = Story("").explained()
    assert explained.peak_allocated_bytes == 0
    assert explained.blocks == ()


def test_what_the_counters_saw_and_the_history_did_not_is_unknown_and_said() -> None:
    story = Story()
    story.at(1, Phase.FORWARD)
    story.label(story.take(1024), Category.PARAMETERS, "w")
    short = story.explained(peak_allocated_bytes=5 * 1024)
    assert short.peak_allocated_bytes == 5 * 1024
    assert short.allocated_parts["unknown"] == 4 * 1024
    assert short.unknown_reason == "the history and the counters differ by +4,096 B"
    assert story.explained(peak_allocated_bytes=1024).unknown_reason is None
    assert story.explained(end_allocated_bytes=1536).allocated_parts["unknown"] == 512


def test_the_device_s_parts_have_context_and_other_processes() -> None:
    story = Story()
    story.at(1, Phase.FORWARD)
    block = story.take(1024)
    story.notes.device_position, story.notes.device_reserved_bytes = story.requests, 4 * MIB
    story.free(block)
    explained = story.explained(nvml_used_bytes=100 * MIB, context_bytes=90 * MIB)
    assert explained.device_parts is not None
    assert sum(explained.device_parts.values()) == 100 * MIB
    assert {name: size for name, size in explained.device_parts.items() if size} == {
        "temporary": 1024,
        "cached": 4 * MIB - 1024,
        "context": 90 * MIB,
        "other_processes": 6 * MIB,
    }
    assert story.explained(nvml_used_bytes=100 * MIB).device_parts is None


@pytest.mark.parametrize(("path", "owners"), [("a.0.b", 4), ("a.0", 3), ("", 1), (None, 0), ("a.9", 2)])
def test_a_block_belongs_to_its_module_and_all_that_it_is_in(path: str | None, owners: int) -> None:
    story = Story(*MODULES)
    story.at(1, Phase.FORWARD, path)
    story.take(1000)
    explained = story.explained()
    assert sum(bool(row.parts) for row in explained.modules) == owners
    assert bool(explained.outside_parts) == (path is None)


def test_high_points_are_one_a_place_and_summits_come_first() -> None:
    story = Story("a", "b", "c")
    heights = {"a": 10, "b": 30, "c": 20}
    for step in (1, 2):
        for phase in (Phase.FORWARD, Phase.BACKWARD):
            for module, size in heights.items():
                story.at(step, phase, module)
                story.free(story.take(size * MIB // 20 * step))
    explained = story.explained()
    assert (explained.peak.step, explained.peak.phase, explained.peak.module) == (2, Phase.FORWARD, "b")
    places = [(moment.phase, moment.module) for moment in explained.next_moments]
    assert places[0] == (Phase.BACKWARD, "b")
    assert len(set(places)) == len(places) == 5
    assert [moment.allocated_bytes for moment in explained.steps] == [30 * MIB // 20, 60 * MIB // 20]


def test_behind_the_last_optimizer_step_a_loop_only_lets_go_which_is_no_step() -> None:
    story = Story()
    story.at(1, Phase.FORWARD)
    kept = story.take(1000)
    story.at(2, Phase.ZERO_GRAD)
    story.free(kept)
    assert [moment.step for moment in story.explained().steps] == [1]
