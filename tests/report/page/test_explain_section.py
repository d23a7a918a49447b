"""What the peak consists of: every part is there, and the parts sum to the figures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from memprof.breakdown.explanation import Explained
from memprof.records import Status
from memprof.report.page.elements import Branch
from memprof.report.page.explain_section import (
    blocks_table,
    differences_table,
    explain_section,
    memory_levels,
    module_tree,
)
from tests.samples import OUT_OF_MEMORY


def test_each_memory_level_sums_to_its_figure(explained: Explained) -> None:
    assert explained.explanation is not None
    total_bytes = explained.record.environment.gpu_total_bytes
    bars = memory_levels(explained.explanation, explained.source, total_bytes, assumed=False)
    assert [bar.name for bar in bars.bars] == ["requested", "allocated", "reserved", "device"]
    for bar in bars.bars:
        assert sum(segment.size for segment in bar.segments) == bar.total
    assert bars.longest == explained.explanation.nvml_used_bytes


def every(branches: tuple[Branch, ...]) -> Iterator[Branch]:
    for branch in branches:
        yield branch
        yield from every(branch.children)


def test_module_tree_has_each_module_once_below_parent(explained: Explained) -> None:
    assert explained.explanation is not None
    tree = module_tree(explained.explanation)
    assert [branch.name for branch in every(tree.roots)] == ["the model", "0", "1", "2", "3"]
    assert len(tree.roots) == 1
    outside = sum(explained.explanation.outside_parts.values())
    assert (tree.roots[0].bar.total or 0) + outside == explained.explanation.peak_allocated_bytes


@pytest.mark.parametrize("paths", [["", "a.b.c", "a"], ["a", "a.b", "b"]])
def test_module_without_parent_goes_to_nearest_above(explained: Explained, paths: list[str]) -> None:
    assert explained.explanation is not None
    rows = tuple(replace(explained.explanation.modules[0], path=path) for path in paths)
    tree = module_tree(replace(explained.explanation, modules=rows))
    assert sorted(branch.name for branch in every(tree.roots)) == sorted(path or "the model" for path in paths)


def test_blocks_not_shown_are_summed(explained: Explained) -> None:
    assert explained.explanation is not None
    blocks = explained.explanation.blocks * 3
    table = blocks_table(replace(explained.explanation, blocks=blocks))
    assert len(table.rows) == 25
    assert f"Not shown: the {len(blocks) - 25} smallest blocks" in table.notes[1]


def test_unknown_analytic_part_makes_sum_unknown(explained: Explained) -> None:
    table = differences_table(explained.differences, explained.record.source)
    assert table.notes == ("Total: estimate -, at the peak 65.81 MiB.",)
    known = [item for item in explained.differences if item.analytic_bytes is not None]
    assert "Total: estimate 1.78 MiB" in differences_table(known, explained.record.source).notes[0]


def test_peak_of_run_out_of_memory_is_lower_bound(explained: Explained) -> None:
    record = replace(explained.record, status=Status.OOM, error=OUT_OF_MEMORY)
    lead = explain_section(replace(explained, record=record)).lead
    assert lead[0] == f"The run ended with oom: {OUT_OF_MEMORY}"
    assert lead[2].startswith("adam, batch 64: the peak is > 65.81 MiB allocated")


def test_run_without_explanation_gives_reason(explained: Explained) -> None:
    record = replace(explained.record, status=Status.KILLED, error="the worker was killed by signal 9")
    section = explain_section(replace(explained, record=record, explanation=None))
    assert section.lead == ("Nothing to explain: the worker was killed by signal 9.",)
    assert section.parts == ()
