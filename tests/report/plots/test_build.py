"""What is drawn: the figures of the records, and nothing that they do not say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memprof.breakdown.explanation import Explained
from memprof.errors import ConfigError, ResultError
from memprof.records import RunRecord, Source, Status
from memprof.report.plots.build import (
    batch_plot,
    categories_of_explanation,
    categories_of_sweep,
    plot_of,
    timeline_plot,
)
from memprof.report.plots.elements import BatchPlot, CategoriesPlot, PlotKind
from memprof.results import Result
from memprof.units import GIB, MIB
from tests.report.plots.conftest import GPU_BYTES, MakeRecord, saved
from tests.report.plots.explained import sample_explained


def test_batch_plot_has_curve_for_each_optimizer(sweep: list[RunRecord]) -> None:
    sgd, adam = batch_plot(sweep).curves
    assert (sgd.name, adam.name) == ("sgd", "adam")
    assert sgd.batch_sizes == (16, 64, 256, 1024, 4096)
    assert sgd.ran() == [(size, (250 + 11 * size) * MIB) for size in (16, 64, 256, 1024)]
    assert adam.ran() == [(size, (450 + 11 * size) * MIB) for size in (16, 256, 1024)]
    assert sgd.reserved_bytes[0] == (270 + 11 * 16) * MIB


def test_curve_unfinished_run_has_no_peak(sweep: list[RunRecord]) -> None:
    _, adam = batch_plot(sweep).curves
    assert adam.peaks_bytes[1] is None
    assert adam.peaks_bytes[4] is None
    assert adam.ended() == [(64, Status.KILLED), (4096, Status.OOM)]


def test_layers_sum_to_estimate(sweep: list[RunRecord]) -> None:
    for curve in batch_plot(sweep).curves:
        sums = [
            sum(filter(None, values)) for values in zip(*(layer.values_bytes for layer in curve.layers), strict=True)
        ]
        assert tuple(sums) == curve.totals_bytes
    sgd, adam = batch_plot(sweep).curves
    assert [layer.part for layer in sgd.layers] == ["parameters", "gradients", "input", "activations"]
    assert "optimizer_state" in [layer.part for layer in adam.layers]


def test_unknown_activations_leave_no_stack(make_record: MakeRecord) -> None:
    record = make_record("sgd", 16)
    assert record.breakdown is not None
    unknown = replace(record, breakdown=replace(record.breakdown, activations_bytes=None))
    (curve,) = batch_plot([unknown, make_record("sgd", 64)]).curves
    assert all(layer.values_bytes[0] is None and layer.values_bytes[1] is not None for layer in curve.layers)
    (alone,) = batch_plot([unknown]).curves
    assert alone.layers == ()
    assert alone.totals_bytes == (None,)


def test_batch_plot_near_limit_is_on_data_axis(sweep: list[RunRecord]) -> None:
    plot = batch_plot(sweep)
    assert plot.limit is not None
    assert not plot.limit_apart
    assert plot.limit.safe_bytes == GPU_BYTES * 8 // 10
    assert plot.axis.top_bytes > GPU_BYTES


def test_batch_plot_far_limit_is_apart(sweep: list[RunRecord]) -> None:
    plot = batch_plot([record for record in sweep if record.batch_size <= 64])
    assert plot.limit_apart
    assert plot.axis.top_bytes < 2 * GIB


def test_out_of_memory_run_does_not_stretch_axis(sweep: list[RunRecord]) -> None:
    assert sweep[4].breakdown is not None
    assert (sweep[4].breakdown.total_bytes or 0) > 2.5 * GPU_BYTES
    assert batch_plot(sweep).axis.top_bytes < 1.2 * GPU_BYTES
    only_ooms = [record for record in sweep if record.status is Status.OOM]
    assert batch_plot(only_ooms).axis.top_bytes < 1.2 * GPU_BYTES


def test_batch_plot_without_gpu_has_no_limit(sweep: list[RunRecord]) -> None:
    records = [replace(r, environment=replace(r.environment, gpu=None, gpu_total_bytes=None)) for r in sweep]
    plot = batch_plot(records)
    assert plot.limit is None
    assert "None" not in plot.heading.circumstances


def test_heading_names_source_gpu_and_model(sweep: list[RunRecord]) -> None:
    heading = batch_plot(sweep).heading
    assert heading.title.startswith("plain_cnn: ")
    assert heading.circumstances.startswith("v100-16gb (phantom) · 16.00 GiB · emulated · fp32 · train")
    assert heading.note.startswith("emulated: ")
    assert "analytic: " in heading.note
    measured = [replace(record, source=Source.MEASURED) for record in sweep]
    said = batch_plot(measured).heading
    assert "phantom" not in said.circumstances + said.note
    assert said.note.startswith("measured: ")


def test_analytic_records_have_stack_and_no_peak(sweep: list[RunRecord]) -> None:
    records = [replace(r, source=Source.ANALYTIC, reading=None, status=Status.OK) for r in sweep]
    plot = batch_plot(records)
    assert all(curve.ran() == [] and curve.layers for curve in plot.curves)
    assert plot.heading.note == "analytic: the stack, from shapes and dtypes alone"
    assert categories_of_sweep(records).peak_name == ""


def test_two_precisions_are_two_curves(make_record: MakeRecord) -> None:
    records = [make_record("sgd", 16), make_record("sgd", 16, precision="bf16")]
    assert [curve.name for curve in batch_plot(records).curves] == ["sgd, fp32", "sgd, bf16"]


def test_inference_curve_has_name_of_mode(make_record: MakeRecord) -> None:
    assert batch_plot([make_record(None, 16, mode="inference")]).curves[0].name == "inference"


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


def test_timeline_sums_to_allocated_at_peak(explained: Explained) -> None:
    plot = timeline_plot(explained)
    place = plot.positions.index(plot.peak_position)
    at_peak = sum(layer.values_bytes[place] or 0 for layer in plot.layers)
    assert explained.explanation is not None
    assert at_peak == plot.peak_bytes == explained.explanation.peak_allocated_bytes
    assert plot.reserved_bytes > plot.peak_bytes
    assert plot.axis.top_bytes > plot.reserved_bytes
    assert [layer.part for layer in plot.layers][:3] == ["parameters", "buffers", "gradients"]
    assert [span.name for span in plot.spans] == ["zero_grad", "forward", "loss", "backward", "optimizer"]
    assert plot.peak_place == "backward of features.23, convolution_backward"


def test_explanation_bars_sum_to_figures(explained: Explained) -> None:
    plot = categories_of_explanation(explained)
    explanation = explained.explanation
    assert explanation is not None
    assert [bar.name for bar in plot.bars] == ["total", "allocated", "reserved", "device (NVML)"]
    for bar in plot.bars:
        assert bar.parts is not None
        assert sum(bar.parts.values()) == bar.total_bytes
    assert plot.bars[1].total_bytes == explanation.peak_allocated_bytes
    assert plot.bars[3].total_bytes == explanation.nvml_used_bytes
    without = replace(explained, explanation=replace(explanation, nvml_used_bytes=None, device_parts=None))
    assert len(categories_of_explanation(without).bars) == 3


def test_timeline_of_unstarted_run_is_refused() -> None:
    with pytest.raises(ResultError, match="nothing ran; the worker was killed by signal 9"):
        timeline_plot(sample_explained(Status.KILLED))


@pytest.mark.parametrize(
    ("sizes", "kind", "drawn"),
    [
        ((16, 64), None, BatchPlot),
        ((16,), None, CategoriesPlot),
        ((16,), PlotKind.BATCH, BatchPlot),
        ((16, 64), PlotKind.CATEGORIES, CategoriesPlot),
    ],
)
def test_plot_kind_suits_result(
    make_record: MakeRecord, sizes: tuple[int, ...], kind: PlotKind | None, drawn: type
) -> None:
    assert isinstance(plot_of(saved([make_record("sgd", size) for size in sizes]), kind), drawn)


def test_plot_kind_unsuitable_is_refused_with_known_kinds(comparison: Result) -> None:
    with pytest.raises(ConfigError, match=r"--kind timeline: results/.* holds a sweep, whose kinds are batch or cat"):
        plot_of(saved([]), PlotKind.TIMELINE)
    with pytest.raises(ConfigError, match="holds a comparison, whose kinds are categories"):
        plot_of(comparison, PlotKind.BATCH)


def test_nothing_to_plot_gives_reason(make_record: MakeRecord) -> None:
    with pytest.raises(ResultError, match="nothing to plot: it has no rows"):
        plot_of(saved([]))
    failed = make_record("sgd", 16, status=Status.ERROR, reading=None, error="no kernel for this")
    with pytest.raises(ResultError, match="all 2 rows failed; the first: no kernel for this"):
        plot_of(saved([failed, failed]))
    empty = make_record("sgd", 16, status=Status.OOM, reading=None, breakdown=None)
    with pytest.raises(ResultError, match="no row has a peak or an analytic total"):
        plot_of(saved([empty]))


def test_timeline_without_positions_is_refused(explained: Explained) -> None:
    assert explained.explanation is not None
    timeline = replace(explained.explanation.timeline, positions=(), series={}, spans=())
    with pytest.raises(ResultError, match="the timeline is empty"):
        timeline_plot(replace(explained, explanation=replace(explained.explanation, timeline=timeline)))
