"""Charts before they are written: positions, and that every line can be seen."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import pytest

from memprof.breakdown.explanation import Explained
from memprof.records import MaxBatch, RunRecord
from memprof.report.page.chart_data import batch_chart, timeline_chart, trials_chart
from memprof.report.page.charts import Chart, Line, Look, Shape
from memprof.report.page.scales import SPAN, batch_scale, byte_scale, line_scale
from memprof.report.plots.axes import byte_axis
from memprof.report.plots.batch import batch_plot
from memprof.report.plots.timeline import timeline_plot
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
    chart = trials_chart(max_batch)
    assert list(chart.ceilings.values()) == [max_batch.gpu_total_bytes]
    by_name = {line.name: line.ys for line in chart.lines}
    assert chart.xs == (0, 300, 600, 601)
    assert by_name["did not train (device until then)"] == (None, None, None, 601 * 101 * MIB + GIB)
    assert by_name["allocated, fitted line"][0] == GIB
    limited = trials_chart(replace(max_batch, memory_limit_bytes=10_000 * GIB))
    assert limited.ceilings == {}
    assert limited.notes == ("Far above, not drawn: memory limit, 9.77 TiB.",)


def test_trials_chart_fitted_line_is_not_covered(max_batch: MaxBatch) -> None:
    looks = {line.name: line.look for line in trials_chart(max_batch).lines}
    assert looks["allocated"] == "dots"
    assert looks["allocated, fitted line"] == "dashed"
    assert {line.name: line.look for line in trials_chart(replace(max_batch, fit=None)).lines}["allocated"] == "line"


def test_batch_chart_has_peak_and_estimate_lines(records: list[RunRecord]) -> None:
    chart = batch_chart(batch_plot(records))
    assert [(line.name, line.look) for line in chart.lines] == [
        ("adam", "line"),
        ("adam, estimate", "wide"),
        ("sgd", "line"),
        ("sgd, estimate", "wide"),
    ]
    assert chart.lines[0].ys[-1] is None  # out of memory: no peak
    # The wide lines are drawn first, so that they are visible on both sides of a line on top of them.
    assert [shape.line.look for shape in chart.shapes] == ["wide", "wide", "line", "line"]


def test_estimate_of_unfinished_run_does_not_stretch_axis(records: list[RunRecord]) -> None:
    breakdown = records[2].breakdown
    assert breakdown is not None
    huge = replace(records[2], breakdown=replace(breakdown, activations_bytes=1000 * GIB))
    chart = batch_chart(batch_plot([*records[:2], huge]))
    assert chart.y_scale.high == batch_chart(batch_plot(records)).y_scale.high
    assert "Estimates above the axis are in the table." in chart.notes
    assert "Estimates above the axis are in the table." not in batch_chart(batch_plot(records)).notes


def lines_chart(*lines: Line) -> Chart:
    return Chart(
        id="x",
        caption="x",
        x_label="x",
        xs=(1, 2, 3),
        lines=lines,
        x_scale=batch_scale([1, 2, 3]),
        y_scale=byte_scale(byte_axis(4 * GIB)),
    )


@pytest.mark.parametrize("look", ["line", "wide", "dashed"])
def test_lines_that_coincide_alternate(look: Look) -> None:
    ys = ((GIB, 2 * GIB, 3 * GIB), (GIB, 2 * GIB + MIB, None), (GIB + MIB, 2 * GIB, 3 * GIB))
    lines = tuple(Line(name=name, color="line-0", ys=y, look=look) for name, y in zip("abc", ys, strict=True))
    chart = lines_chart(*lines)
    assert chart.coinciding == (lines,)
    drawn = [[covers(shape, at) for shape in chart.shapes] for at in range(200)]
    assert max(map(sum, drawn)) == 1  # nowhere two at once
    assert all(any(column) for column in zip(*drawn, strict=True))  # and each somewhere


def covers(shape: Shape, at: float) -> bool:
    """Whether the dashes of a stroke cover a position along it, by the rules of SVG."""
    dash, gap = shape.dashes
    return (at + shape.dash_offset) % (dash + gap) < dash


def test_dots_of_lines_that_coincide_are_nested() -> None:
    lines = (Line(name=name, color="line-0", ys=(GIB, GIB, GIB)) for name in "abc")
    sizes = [shape.dot_size for shape in lines_chart(*lines).shapes]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3


def test_lines_apart_or_of_different_looks_are_not_dashed() -> None:
    one = Line(name="a", color="line-0", ys=(GIB, 2 * GIB, 3 * GIB))
    for other in (
        replace(one, look="wide"),
        replace(one, ys=(GIB, 2 * GIB, 4 * GIB)),
        replace(one, ys=(GIB,) + (None,) * 2),
    ):
        chart = lines_chart(one, other)
        assert chart.coinciding == ()
        assert [shape.dashes for shape in chart.shapes] == [(), ()]
