"""What is drawn: the figures of the records, and nothing that they do not say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memprof.breakdown.explanation import Explained
from memprof.errors import ConfigError, ResultError
from memprof.records import RunRecord, Source, Status
from memprof.report.plots.build import (
    batch_picture,
    categories_of_explanation,
    categories_of_sweep,
    picture_of,
    timeline_picture,
)
from memprof.report.plots.figures import BatchPicture, CategoriesPicture, PictureKind
from memprof.results import Result
from memprof.units import GIB, MIB
from tests.report.plots.conftest import GPU_BYTES, MakeRecord, saved
from tests.report.plots.explained import sample_explained


def test_each_optimizer_is_a_curve_of_its_peaks(sweep: list[RunRecord]) -> None:
    sgd, adam = batch_picture(sweep).curves
    assert (sgd.name, adam.name) == ("sgd", "adam")
    assert sgd.batch_sizes == (16, 64, 256, 1024, 4096)
    assert sgd.ran() == [(size, (250 + 11 * size) * MIB) for size in (16, 64, 256, 1024)]
    assert adam.ran() == [(size, (450 + 11 * size) * MIB) for size in (16, 256, 1024)]
    assert sgd.reserved_bytes[0] == (270 + 11 * 16) * MIB


def test_a_peak_of_a_run_that_did_not_end_is_none(sweep: list[RunRecord]) -> None:
    _, adam = batch_picture(sweep).curves
    assert adam.peaks_bytes[1] is None
    assert adam.peaks_bytes[4] is None
    assert adam.ended() == [(64, Status.KILLED), (4096, Status.OOM)]


def test_layers_sum_to_the_analytic_total(sweep: list[RunRecord]) -> None:
    for curve in batch_picture(sweep).curves:
        sums = [
            sum(filter(None, values)) for values in zip(*(layer.values_bytes for layer in curve.layers), strict=True)
        ]
        assert tuple(sums) == curve.totals_bytes
    sgd, adam = batch_picture(sweep).curves
    assert [layer.part for layer in sgd.layers] == ["parameters", "gradients", "input", "activations"]
    assert "optimizer_state" in [layer.part for layer in adam.layers]


def test_without_the_activations_there_is_no_stack_that_would_say_too_little(make_record: MakeRecord) -> None:
    record = make_record("sgd", 16)
    assert record.breakdown is not None
    unknown = replace(record, breakdown=replace(record.breakdown, activations_bytes=None))
    (curve,) = batch_picture([unknown, make_record("sgd", 64)]).curves
    assert all(layer.values_bytes[0] is None and layer.values_bytes[1] is not None for layer in curve.layers)
    (alone,) = batch_picture([unknown]).curves
    assert alone.layers == ()
    assert alone.totals_bytes == (None,)


def test_a_limit_within_sight_is_on_the_axis_of_the_data(sweep: list[RunRecord]) -> None:
    picture = batch_picture(sweep)
    assert picture.limit is not None
    assert not picture.limit_apart
    assert picture.limit.safe_bytes == GPU_BYTES * 8 // 10
    assert picture.axis.top_bytes > GPU_BYTES


def test_a_limit_far_above_does_not_squash_the_data(sweep: list[RunRecord]) -> None:
    picture = batch_picture([record for record in sweep if record.batch_size <= 64])
    assert picture.limit_apart
    assert picture.axis.top_bytes < 2 * GIB


def test_what_did_not_fit_does_not_stretch_the_axis(sweep: list[RunRecord]) -> None:
    assert sweep[4].breakdown is not None
    assert (sweep[4].breakdown.total_bytes or 0) > 2.5 * GPU_BYTES
    assert batch_picture(sweep).axis.top_bytes < 1.2 * GPU_BYTES
    only_ooms = [record for record in sweep if record.status is Status.OOM]
    assert batch_picture(only_ooms).axis.top_bytes < 1.2 * GPU_BYTES


def test_without_a_gpu_there_is_no_limit(sweep: list[RunRecord]) -> None:
    records = [replace(r, environment=replace(r.environment, gpu=None, gpu_total_bytes=None)) for r in sweep]
    picture = batch_picture(records)
    assert picture.limit is None
    assert "None" not in picture.heading.circumstances


def test_the_heading_says_source_gpu_and_model(sweep: list[RunRecord]) -> None:
    heading = batch_picture(sweep).heading
    assert heading.title.startswith("plain_cnn: ")
    assert heading.circumstances.startswith("v100-16gb (phantom) · 16.00 GiB · emulated · fp32 · train")
    assert heading.note.startswith("emulated: ")
    assert "analytic: " in heading.note
    measured = [replace(record, source=Source.MEASURED) for record in sweep]
    said = batch_picture(measured).heading
    assert "phantom" not in said.circumstances + said.note
    assert said.note.startswith("measured: ")


def test_formulas_alone_have_a_stack_and_no_peak(sweep: list[RunRecord]) -> None:
    records = [replace(r, source=Source.ANALYTIC, reading=None, status=Status.OK) for r in sweep]
    picture = batch_picture(records)
    assert all(curve.ran() == [] and curve.layers for curve in picture.curves)
    assert picture.heading.note == "analytic: the stack, from shapes and dtypes alone"
    assert categories_of_sweep(records).peak_name == ""


def test_two_precisions_are_two_curves(make_record: MakeRecord) -> None:
    records = [make_record("sgd", 16), make_record("sgd", 16, precision="bf16")]
    assert [curve.name for curve in batch_picture(records).curves] == ["sgd, fp32", "sgd, bf16"]


def test_inference_is_a_curve_under_its_mode(make_record: MakeRecord) -> None:
    assert batch_picture([make_record(None, 16, mode="inference")]).curves[0].name == "inference"


def test_a_sweep_has_a_bar_for_each_optimizer_at_each_batch_size(sweep: list[RunRecord]) -> None:
    picture = categories_of_sweep(sweep)
    assert [(bar.group, bar.name) for bar in picture.bars[:3]] == [
        ("batch 16", "sgd"),
        ("batch 16", "adam"),
        ("batch 64", "sgd"),
    ]
    bar = picture.bars[1]
    assert bar.parts is not None
    assert sum(bar.parts.values()) == bar.total_bytes == (400 + 11 * 16) * MIB
    assert bar.peak_bytes == (450 + 11 * 16) * MIB
    assert picture.bars[-1].end is Status.OOM
    assert picture.bars[-1].peak_bytes is None


def test_of_many_batch_sizes_some_of_the_whole_range_are_shown(make_record: MakeRecord) -> None:
    records = [make_record(name, size) for name in ("sgd", "adam") for size in range(1, 101)]
    picture = categories_of_sweep(records)
    groups = list(dict.fromkeys(bar.group for bar in picture.bars))
    assert len(groups) == 12
    assert (groups[0], groups[-1]) == ("batch 1", "batch 100")
    assert "12 of 100 batch sizes" in picture.heading.note


def test_a_comparison_has_a_bar_for_each_variant(comparison: Result) -> None:
    picture = picture_of(comparison)
    assert isinstance(picture, CategoriesPicture)
    assert [(bar.group, bar.name) for bar in picture.bars] == [
        ("base: optimizer=sgd, precision=fp32", "base"),
        ("optimizer", "adam"),
        ("precision", "fp64"),
    ]
    assert picture.bars[2].end is Status.ERROR
    assert "fp32" not in picture.heading.circumstances  # the variants do not share it
    assert "batch 64" in picture.heading.circumstances


def test_a_comparison_that_was_stopped_shows_what_it_has(comparison: Result) -> None:
    picture = picture_of(replace(comparison, records=comparison.records[:2]))
    assert isinstance(picture, CategoriesPicture)
    assert [bar.name for bar in picture.bars] == ["base", "adam"]


def test_a_timeline_sums_to_what_is_allocated_and_meets_its_peak(explained: Explained) -> None:
    picture = timeline_picture(explained)
    place = picture.positions.index(picture.peak_position)
    at_peak = sum(layer.values_bytes[place] or 0 for layer in picture.layers)
    assert explained.explanation is not None
    assert at_peak == picture.peak_bytes == explained.explanation.peak_allocated_bytes
    assert picture.reserved_bytes > picture.peak_bytes
    assert picture.axis.top_bytes > picture.reserved_bytes
    assert [layer.part for layer in picture.layers][:3] == ["parameters", "buffers", "gradients"]
    assert [span.name for span in picture.spans] == ["zero_grad", "forward", "loss", "backward", "optimizer"]
    assert picture.peak_place == "backward of features.23, convolution_backward"


def test_an_explanation_has_bars_that_sum_to_its_figures(explained: Explained) -> None:
    picture = categories_of_explanation(explained)
    explanation = explained.explanation
    assert explanation is not None
    assert [bar.name for bar in picture.bars] == ["total", "allocated", "reserved", "device (NVML)"]
    for bar in picture.bars:
        assert bar.parts is not None
        assert sum(bar.parts.values()) == bar.total_bytes
    assert picture.bars[1].total_bytes == explanation.peak_allocated_bytes
    assert picture.bars[3].total_bytes == explanation.nvml_used_bytes
    without = replace(explained, explanation=replace(explanation, nvml_used_bytes=None, device_parts=None))
    assert len(categories_of_explanation(without).bars) == 3


def test_a_run_that_did_not_end_has_no_timeline() -> None:
    with pytest.raises(ResultError, match="nothing ran; the worker was killed by signal 9"):
        timeline_picture(sample_explained(Status.KILLED))


@pytest.mark.parametrize(
    ("sizes", "kind", "drawn"),
    [
        ((16, 64), None, BatchPicture),
        ((16,), None, CategoriesPicture),
        ((16,), PictureKind.BATCH, BatchPicture),
        ((16, 64), PictureKind.CATEGORIES, CategoriesPicture),
    ],
)
def test_the_kind_that_is_drawn_suits_the_result(
    make_record: MakeRecord, sizes: tuple[int, ...], kind: PictureKind | None, drawn: type
) -> None:
    assert isinstance(picture_of(saved([make_record("sgd", size) for size in sizes]), kind), drawn)


def test_a_kind_that_the_result_does_not_have_is_refused_with_those_that_it_has(comparison: Result) -> None:
    with pytest.raises(ConfigError, match=r"--kind timeline: results/.* holds a sweep, whose kinds are batch or cat"):
        picture_of(saved([]), PictureKind.TIMELINE)
    with pytest.raises(ConfigError, match="holds a comparison, whose kinds are categories"):
        picture_of(comparison, PictureKind.BATCH)


def test_nothing_to_plot_says_why(make_record: MakeRecord) -> None:
    with pytest.raises(ResultError, match="nothing to plot: it has no rows"):
        picture_of(saved([]))
    failed = make_record("sgd", 16, status=Status.ERROR, reading=None, error="no kernel for this")
    with pytest.raises(ResultError, match="all 2 rows failed; the first: no kernel for this"):
        picture_of(saved([failed, failed]))
    empty = make_record("sgd", 16, status=Status.OOM, reading=None, breakdown=None)
    with pytest.raises(ResultError, match="no row has a peak or an analytic total"):
        picture_of(saved([empty]))


def test_a_timeline_without_positions_is_refused(explained: Explained) -> None:
    assert explained.explanation is not None
    timeline = replace(explained.explanation.timeline, positions=(), series={}, spans=())
    with pytest.raises(ResultError, match="the timeline is empty"):
        timeline_picture(replace(explained, explanation=replace(explained.explanation, timeline=timeline)))
