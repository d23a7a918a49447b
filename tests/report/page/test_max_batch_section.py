"""The largest batch: trials of one GPU, and bars and a table of several."""

from __future__ import annotations

from dataclasses import replace

from memprof.records import MaxBatch, StopReason
from memprof.report.page.elements import Bars
from memprof.report.page.max_batch_section import gpus_bars, gpus_table, max_batch_section, trials_table
from tests.report.page.conftest import column
from tests.samples import OUT_OF_MEMORY


def test_trial_out_of_memory_shows_lower_bounds(max_batch: MaxBatch) -> None:
    table = trials_table(max_batch)
    assert column(table, "allocated") == ["29.30 GiB", "58.59 GiB", "> 58.69 GiB"]
    assert column(table, "reserved")[-1] == "> 59.28 GiB"
    assert column(table, "device")[-1] == "> 60.28 GiB"
    assert "needs at least what it reached (>, ≥)" in table.notes[0]
    trained = replace(max_batch, trials=max_batch.trials[:2])
    assert "needs at least" not in trials_table(trained).notes[0]


def test_trial_error_is_below_its_row(max_batch: MaxBatch) -> None:
    table = trials_table(max_batch)
    assert [table.texts_below(row) for row in table.rows] == [[], [], [OUT_OF_MEMORY]]
    assert "error" not in [heading.text for heading in table.columns]


def test_gpu_bar_is_as_long_as_its_largest_batch(max_batch: MaxBatch) -> None:
    small = replace(max_batch, gpu="t4", largest_batch_size=1_001, gpu_total_bytes=15_828_254_720)
    bars = gpus_bars([max_batch, small])
    assert [(bar.name, bar.total) for bar in bars.bars] == [("t4", 1_001), ("h100-80gb", 600)]
    assert [sum(segment.size for segment in bar.segments) for bar in bars.bars] == [1_001, 600]
    assert [bars.text(bar.total) for bar in bars.bars] == ["1,001", "600"]
    assert [(segment.name, segment.size) for segment in bars.bars[1].segments] == [
        ("safe", 480),
        ("up to the largest", 120),
    ]
    assert bars.bars[0].note == "14.74 GiB of memory"


def test_gpu_bar_without_verified_limit_has_no_safe_batch(max_batch: MaxBatch) -> None:
    unverified = replace(max_batch, verified=False, stopped_by=StopReason.MAX)
    (bar,) = gpus_bars([unverified]).bars
    assert [segment.name for segment in bar.segments] == ["up to the largest"]
    assert bar.note.endswith("larger batches may train")
    assert column(gpus_table([unverified, unverified]), "safe") == ["-", "-"]


def test_gpu_that_does_not_fit_has_empty_bar_and_reason(max_batch: MaxBatch) -> None:
    small = replace(max_batch, gpu="t4", largest_batch_size=0, smallest_footprint_bytes=100 * 1024**3)
    bars = gpus_bars([max_batch, small])
    assert (bars.bars[1].segments, bars.text(bars.bars[1].total)) == ((), "-")
    assert "does not fit on t4" in bars.bars[1].note
    assert column(gpus_table([max_batch, small]), "largest") == ["600", "-"]


def test_gpu_stopped_by_error_has_error_below_its_row(max_batch: MaxBatch) -> None:
    failed = replace(max_batch.trials[-1], stop=StopReason.ERROR, error="no kernel for this")
    broken = replace(max_batch, stopped_by=StopReason.ERROR, trials=(*max_batch.trials[:2], failed))
    table = gpus_table([max_batch, broken])
    assert column(table, "stopped by") == ["GPU memory", "an error, not memory"]
    assert [table.texts_below(row) for row in table.rows] == [[], ["no kernel for this"]]


def test_section_of_one_gpu_has_trials_and_of_several_a_ranking(max_batch: MaxBatch) -> None:
    one, several = max_batch_section([max_batch]), max_batch_section([max_batch, replace(max_batch, gpu="t4")])
    assert (one.title, several.title) == ("Largest batch", "Largest batch per GPU")
    assert one.lead[:2] == ("Stopped by GPU memory.", "Peak allocated ≈ 1.00 GiB + 100.00 MiB × batch (±0 B).")
    assert isinstance(several.parts[0], Bars)
