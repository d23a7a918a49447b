"""Charts, bars and the tree before they are written: where things lie, and that nothing is lost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest

from memprof.breakdown.explanation import Explained
from memprof.records import MaxBatch, RunRecord
from memprof.report.page.chart_data import batch_chart, timeline_chart, tries_chart
from memprof.report.page.charts import Chart, Line
from memprof.report.page.elements import Branch
from memprof.report.page.explain_section import blocks_table, differences_table, memory_levels, module_tree
from memprof.report.page.scales import SPAN, batch_scale, byte_scale, line_scale
from memprof.report.plots.axes import byte_axis
from memprof.report.plots.build import batch_plot, timeline_plot
from memprof.units import GIB, MIB


def test_batch_scale_factors_are_evenly_spaced() -> None:
    scale = batch_scale([16, 64, 256, 1024])
    places = [scale.place(size) for size in (16, 64, 256, 1024)]
    assert scale.log
    assert len({round(after - before) for before, after in pairwise(places)}) == 1
    assert 0 < places[0] < places[-1] < SPAN  # room for whole dots


def test_batch_scale_single_size_has_axis() -> None:
    scale = batch_scale([8])
    assert [tick.text for tick in scale.ticks] == ["8"]
    assert 0 < scale.place(8) < SPAN


def test_line_scale_labels_do_not_touch() -> None:
    scale = line_scale([0, 1, 2, 500, 997, 998, 999, 1000])
    assert [tick.text for tick in scale.ticks] == ["2", "500", "1,000"]


def test_byte_scale_starts_at_zero() -> None:
    scale = byte_scale(byte_axis(80 * MIB))
    assert scale.place(0) == 0
    assert [tick.text for tick in scale.ticks] == ["0", "20 MiB", "40 MiB", "60 MiB", "80 MiB"]


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", path)]


def test_areas_stack_up_to_allocated(explained: Explained) -> None:
    chart = timeline_chart(timeline_plot(explained))
    assert explained.explanation is not None
    assert chart.stacked
    tops = [min(y for _, y in points(shape.area)) for shape in chart.shapes]
    assert tops == sorted(tops, reverse=True)
    peak = explained.explanation.peak_allocated_bytes
    assert tops[-1] == chart.place(0, peak)[1]
    at_peak = chart.xs.index(explained.explanation.timeline.peak_position)
    assert sum(line.ys[at_peak] or 0 for line in chart.lines) == peak
    assert [mark.y for mark in chart.marks] == [peak]


def test_unknown_value_is_gap() -> None:
    scale = batch_scale([1, 2, 3])
    chart = Chart(
        id="x",
        caption="x",
        x_label="x",
        xs=(1, 2, 3),
        lines=(Line(name="a", color="line-0", ys=(GIB, None, GIB)),),
        x_scale=scale,
        y_scale=byte_scale(byte_axis(GIB)),
    )
    assert len(points(chart.shapes[0].dots)) == 2


def test_trials_chart_has_memory_and_fitted_line(max_batch: MaxBatch) -> None:
    chart = tries_chart(max_batch)
    assert list(chart.ceilings.values()) == [max_batch.gpu_total_bytes]
    by_name = {line.name: line.ys for line in chart.lines}
    assert chart.xs == (0, 300, 600, 601)
    assert by_name["did not train (device)"] == (None, None, None, 601 * 101 * MIB + GIB)
    assert by_name["allocated, fitted line"][0] == GIB
    limited = tries_chart(replace(max_batch, memory_limit_bytes=10_000 * GIB))
    assert limited.ceilings == {}
    assert limited.notes == ("Far above, not drawn: memory limit, 9.77 TiB.",)


def test_batch_chart_has_peak_and_estimate_lines(records: list[RunRecord]) -> None:
    chart = batch_chart(batch_plot(records))
    assert [(line.name, line.look) for line in chart.lines] == [
        ("adam", "line"),
        ("adam, analytic", "dashed"),
        ("sgd", "line"),
        ("sgd, analytic", "dashed"),
    ]
    assert chart.lines[0].ys[-1] is None  # out of memory: no peak


def test_each_memory_level_sums_to_its_figure(explained: Explained) -> None:
    assert explained.explanation is not None
    bars = memory_levels(explained.explanation, explained.record)
    assert [bar.name for bar in bars.bars] == ["requested", "allocated", "reserved", "device"]
    for bar in bars.bars:
        assert sum(segment.bytes for segment in bar.segments) == bar.total_bytes
    assert bars.widest_bytes == explained.explanation.nvml_used_bytes


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
    assert (tree.roots[0].bar.total_bytes or 0) + outside == explained.explanation.peak_allocated_bytes


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
    assert f"Not in the table: the {len(blocks) - 25} smallest" in table.notes[1]


def test_unknown_analytic_part_makes_sum_unknown(explained: Explained) -> None:
    table = differences_table(explained.differences, explained.record)
    assert table.notes == ("Sum: - analytic, 65.81 MiB at the peak.",)
    known = [item for item in explained.differences if item.analytic_bytes is not None]
    assert "Sum: 1.78 MiB analytic" in differences_table(known, explained.record).notes[0]
