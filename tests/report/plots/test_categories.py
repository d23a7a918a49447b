"""The bars of a sweep, a comparison and an explanation: their parts sum to their totals."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memprof.breakdown.explanation import Explained
from memprof.records import RunRecord, Status
from memprof.report.assumed import ASSUMED_CONTEXT
from memprof.report.plots.build import plot_of
from memprof.report.plots.categories import categories_of_explanation, categories_of_sweep
from memprof.report.plots.elements import CategoriesPlot
from memprof.results import Result
from memprof.units import MIB
from tests.report.plots.conftest import MakeRecord
from tests.samples import sample_explained


def test_sweep_has_bar_for_each_optimizer_and_size(sweep: list[RunRecord]) -> None:
    plot = categories_of_sweep(sweep)
    assert [(bar.group, bar.name) for bar in plot.bars[:3]] == [
        ("batch 16", "sgd"),
        ("batch 16", "adam"),
        ("batch 64", "sgd"),
    ]
    bar = plot.bars[1]
    assert bar.parts is not None
    assert sum(bar.parts.values()) == bar.total_bytes == (400 + 11 * 16) * MIB
    assert bar.peak_bytes == (450 + 11 * 16) * MIB
    assert plot.bars[-1].end is Status.OOM
    assert plot.bars[-1].peak_bytes is None


def test_many_batch_sizes_show_sample_of_range(make_record: MakeRecord) -> None:
    records = [make_record(name, size) for name in ("sgd", "adam") for size in range(1, 101)]
    plot = categories_of_sweep(records)
    groups = list(dict.fromkeys(bar.group for bar in plot.bars))
    assert len(groups) == 12
    assert (groups[0], groups[-1]) == ("batch 1", "batch 100")
    assert "12 of 100 batch sizes" in plot.heading.note


def test_comparison_has_bar_for_each_variant(comparison: Result) -> None:
    plot = plot_of(comparison)
    assert isinstance(plot, CategoriesPlot)
    assert [(bar.group, bar.name) for bar in plot.bars] == [
        ("base: optimizer=sgd, precision=fp32", "base"),
        ("optimizer", "adam"),
        ("precision", "fp64"),
    ]
    assert plot.bars[2].end is Status.ERROR
    assert "fp32" not in plot.heading.circumstances  # the variants do not share it
    assert "batch 64" in plot.heading.circumstances


def test_comparison_interrupted_shows_first_variants(comparison: Result) -> None:
    plot = plot_of(replace(comparison, records=comparison.records[:2]))
    assert isinstance(plot, CategoriesPlot)
    assert [bar.name for bar in plot.bars] == ["base", "adam"]


def test_explanation_bars_sum_to_figures(explained: Explained) -> None:
    plot = categories_of_explanation(explained)
    explanation = explained.explanation
    assert explanation is not None
    assert [bar.name for bar in plot.bars] == ["sum", "allocated", "reserved", "device (NVML)"]
    for bar in plot.bars:
        assert bar.parts is not None
        assert sum(bar.parts.values()) == bar.total_bytes
    assert plot.bars[1].total_bytes == explanation.peak_allocated_bytes
    assert plot.bars[3].total_bytes == explanation.nvml_used_bytes
    without = replace(explained, explanation=replace(explanation, nvml_used_bytes=None, device_parts=None))
    assert len(categories_of_explanation(without).bars) == 3


@pytest.mark.parametrize(("gpu", "starred"), [("l4", True), ("h200", False)])
def test_device_bar_has_the_star_of_an_assumed_context(gpu: str, starred: bool) -> None:
    explained = sample_explained()
    environment = replace(explained.record.environment, gpu=gpu)
    plot = categories_of_explanation(replace(explained, record=replace(explained.record, environment=environment)))
    assert plot.bars[-1].name == ("device (NVML)*" if starred else "device (NVML)")
    assert (ASSUMED_CONTEXT in plot.heading.note) == starred
