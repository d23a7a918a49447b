"""The curves of a sweep: peaks of the runs that finished, above the analytic estimate."""

from __future__ import annotations

from dataclasses import replace

from memprof.records import RunRecord, Source, Status
from memprof.report.labels import source_note
from memprof.report.plots.batch import batch_plot
from memprof.report.plots.categories import categories_of_sweep
from memprof.units import GIB, MIB
from tests.report.plots.conftest import GPU_BYTES, MakeRecord


def test_batch_plot_has_curve_for_each_optimizer(sweep: list[RunRecord]) -> None:
    sgd, adam = batch_plot(sweep).curves
    assert (sgd.name, adam.name) == ("sgd", "adam")
    assert sgd.batch_sizes == (16, 64, 256, 1024, 4096)
    assert sgd.finished() == [(size, (250 + 11 * size) * MIB) for size in (16, 64, 256, 1024)]
    assert adam.finished() == [(size, (450 + 11 * size) * MIB) for size in (16, 256, 1024)]
    assert sgd.reserved_bytes[0] == (270 + 11 * 16) * MIB


def test_curve_unfinished_run_has_no_peak(sweep: list[RunRecord]) -> None:
    _, adam = batch_plot(sweep).curves
    assert adam.peaks_bytes[1] is None
    assert adam.peaks_bytes[4] is None
    assert adam.unfinished() == [(64, Status.KILLED), (4096, Status.OOM)]


def test_layers_add_up_to_sum_of_categories(sweep: list[RunRecord]) -> None:
    for curve in batch_plot(sweep).curves:
        sums = [
            sum(filter(None, values)) for values in zip(*(layer.values_bytes for layer in curve.layers), strict=True)
        ]
        assert tuple(sums) == curve.estimates_bytes
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
    assert alone.estimates_bytes == (None,)


def test_batch_plot_near_limit_is_on_data_axis(sweep: list[RunRecord]) -> None:
    plot = batch_plot(sweep)
    assert plot.limit is not None
    assert not plot.limit_apart
    assert plot.limit.bytes_80_percent == GPU_BYTES * 8 // 10
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
    assert "The stack is the sum of the analytic categories" in heading.note
    measured = [replace(record, source=Source.MEASURED) for record in sweep]
    measured_heading = batch_plot(measured).heading
    assert "phantom" not in measured_heading.circumstances + measured_heading.note
    assert measured_heading.note.startswith("measured: ")


def test_analytic_records_have_stack_and_no_peak(sweep: list[RunRecord]) -> None:
    records = [replace(r, source=Source.ANALYTIC, reading=None, status=Status.OK) for r in sweep]
    plot = batch_plot(records)
    assert all(curve.finished() == [] and curve.layers for curve in plot.curves)
    assert plot.heading.note == source_note(Source.ANALYTIC)
    assert categories_of_sweep(records).peak_name == ""


def test_two_precisions_are_two_curves(make_record: MakeRecord) -> None:
    records = [make_record("sgd", 16), make_record("sgd", 16, precision="bf16")]
    assert [curve.name for curve in batch_plot(records).curves] == ["sgd, fp32", "sgd, bf16"]


def test_inference_curve_has_name_of_mode(make_record: MakeRecord) -> None:
    assert batch_plot([make_record(None, 16, mode="inference")]).curves[0].name == "inference"
