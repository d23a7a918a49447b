"""The panel of one GPU and the table of several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import RenderableType

from memprof.records import Accumulation, MaxBatch, MemoryFit, Source, Status, StopReason, Trial
from memprof.report.labels import STOP_REASONS
from memprof.report.terminal.max_batch import does_not_fit, max_batch_panel, max_batch_table
from memprof.units import GIB, MIB

Show = Callable[[RenderableType, int], str]
WAY = Accumulation(target_batch_size=4096, micro_batch_size=128, steps=32, status=Status.OK)


def tried(size: int, held_bytes: int, error: str | None = None) -> Trial:
    return Trial(
        batch_size=size,
        status=Status.OOM if error else Status.OK,
        peak_allocated_bytes=held_bytes - GIB,
        peak_reserved_bytes=held_bytes - GIB // 2,
        device_bytes=held_bytes,
        seconds=0.25,
        stop=StopReason.MEMORY if error else None,
        error=error,
    )


@pytest.fixture
def answer() -> MaxBatch:
    return MaxBatch(
        gpu="rtx-4090",
        source=Source.EMULATED,
        model="torchvision:resnet50",
        optimizer="adam",
        gpu_total_bytes=24 * GIB,
        memory_limit_bytes=None,
        multiple_of=1,
        largest_batch_size=282,
        verified=True,
        stopped_by=StopReason.MEMORY,
        batch_size_at_80_percent_memory=186,
        confirmed=Status.OK,
        fit=MemoryFit(fixed_bytes=300 * MIB, bytes_per_sample=80 * MIB, residual_bytes=9 * MIB),
        free_bytes=40 * MIB,
        smallest_footprint_bytes=None,
        trials=(
            tried(1, 2 * GIB),
            tried(282, 23 * GIB),
            tried(283, 24 * GIB, "backward of step 2: CUDA out of memory."),
        ),
        more_trials=(tried(186, 19 * GIB),),
    )


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_max_batch_panel_is_whole_at_every_width(answer: MaxBatch, show: Show, width: int) -> None:
    shown = show(max_batch_panel(replace(answer, target_batch=WAY), width), width)
    assert max(len(line) for line in shown.splitlines()) <= width
    flat = " ".join(shown.replace("│", " ").split())
    for text in (
        "torchvision:resnet50 · adam · rtx-4090 (phantom) · emulated",
        "282 trains, 283 does not",
        "safe batch 225 (80 %; verified with five steps plus evaluation)",
        "at 80 % of memory 186",
        "headroom 40.00 MiB",
        "≈ 300.00 MiB + 80.00 MiB × batch (±9.00 MiB)",
        "4,096 = micro-batch 128 × 32 accumulation steps: ok",
        "3 in 0.8 s, 1 more for the batch at 80 %",
        "backward of step 2",
    ):
        assert text in flat


def test_max_batch_panel_and_table_name_the_memory_limit(answer: MaxBatch, show: Show) -> None:
    limited = replace(answer, memory_limit_bytes=16 * GIB, stopped_by=StopReason.MEMORY_LIMIT)
    assert "16.00 GiB of 24.00 GiB (set_per_process_memory_fraction)" in show(max_batch_panel(limited, 120), 120)
    assert "limited to 16.00 GiB (set_per_process_memory_fraction)" in show(max_batch_table([limited], 120), 120)


@pytest.mark.parametrize("stop", StopReason)
def test_max_batch_panel_has_words_for_every_stop_reason(answer: MaxBatch, show: Show, stop: StopReason) -> None:
    shown = show(max_batch_panel(replace(answer, stopped_by=stop), 120), 120)
    assert STOP_REASONS[stop] in shown


def test_max_batch_panel_says_if_not_verified(answer: MaxBatch, show: Show) -> None:
    bounded = replace(answer, verified=False, stopped_by=StopReason.MAX, trials=answer.trials[:2])
    assert "282 trains; nothing larger was tried" in show(max_batch_panel(bounded, 120), 120)
    late = replace(answer, verified=False, stopped_by=StopReason.TIME, confirmed=None)
    shown = show(max_batch_panel(late, 120), 120)
    assert "not verified" in shown
    assert "evaluation" not in shown


def test_max_batch_table_ranks_and_keeps_gpus_that_do_not_fit(answer: MaxBatch, show: Show) -> None:
    large = replace(answer, gpu="h200", largest_batch_size=1715, gpu_total_bytes=140 * GIB)
    none = replace(answer, gpu="t4", largest_batch_size=0, fit=None, free_bytes=None, smallest_footprint_bytes=30 * GIB)
    shown = show(max_batch_table([none, answer, large], 100), 100)
    rows = [line.split()[0] for line in shown.splitlines() if line.lstrip().startswith(("h200", "rtx", "t4"))]
    assert rows == ["h200", "rtx-4090", "t4"]
    assert "does not fit on t4: batch 1 needs 30.00 GiB" in shown


@pytest.mark.parametrize("width", [60, 80, 120])
def test_max_batch_table_is_whole_at_every_width(answer: MaxBatch, show: Show, width: int) -> None:
    late = replace(answer, gpu="t4", batch_size_at_80_percent_memory=None, confirmed=None, stopped_by=StopReason.TIME)
    shown = show(max_batch_table([replace(answer, target_batch=WAY), late], width), width)
    assert max(len(line) for line in shown.splitlines()) <= width
    flat = " ".join(shown.split())
    for text in ("at 80 %", "186", "225", "for 4,096", "128 × 32", "40.00 MiB", "300.00 MiB", "80.00 MiB"):
        assert text in flat
    assert "stopped by the time limit of the search" in flat
    assert "verified with five steps plus evaluation" in flat
    rows = [line.split() for line in shown.splitlines() if line.split()[:1] == ["t4"]]
    assert "-" in rows[0]  # not found is not a number


def test_max_batch_table_if_narrow_leaves_out_the_trials(answer: MaxBatch, show: Show) -> None:
    narrow, wide = (show(max_batch_table([answer, answer], width), width) for width in (72, 120))
    assert ("trials" in narrow, "trials" in wide) == (False, True)
    assert narrow.splitlines()[0].split() == [
        *("GPU", "memory", "largest", "safe", "at", "80", "%", "fixed", "per", "sample", "headroom")
    ]


def test_max_batch_table_notes_runs_that_failed(answer: MaxBatch, show: Show) -> None:
    way = replace(WAY, status=Status.OOM)
    failed = replace(answer, confirmed=Status.OOM, target_batch=way)
    shown = show(max_batch_table([failed, answer], 160), 160)
    assert "safe batch: five steps plus evaluation ended with oom; target batch 4,096 = micro-batch 128" in shown


def test_max_batch_names_an_evaluation_only_if_there_was_one(answer: MaxBatch, show: Show) -> None:
    bare = replace(answer, evaluates=False)  # in inference, or with a pipeline
    assert "safe batch 225 (80 %; verified with five steps)" in " ".join(show(max_batch_panel(bare, 100), 100).split())
    table = " ".join(show(max_batch_table([bare, bare], 160), 160).split())
    assert "verified with five steps." in table
    assert "evaluation" not in table


def test_does_not_fit_names_the_need_and_the_memory(answer: MaxBatch) -> None:
    none = replace(answer, largest_batch_size=0, smallest_footprint_bytes=30 * GIB)
    assert does_not_fit(none) == (
        "torchvision:resnet50 does not fit on rtx-4090: batch 1 needs 30.00 GiB of GPU memory "
        "(emulated, CUDA context included), and the GPU has 24.00 GiB"
    )
    unknown = replace(none, smallest_footprint_bytes=None, memory_limit_bytes=GIB, trials=answer.trials[-1:])
    assert "needs more than 24.00 GiB" in does_not_fit(unknown)
    assert "the memory limit is 1.00 GiB" in does_not_fit(unknown)


def test_panel_names_no_safe_batch_without_a_limit(answer: MaxBatch, show: Show) -> None:
    not_searched = replace(answer, verified=False, stopped_by=StopReason.MAX)
    assert "safe batch         -  (the limit was not found)" in show(max_batch_panel(not_searched, 80), 80)
    one = replace(answer, largest_batch_size=1)
    assert "safe batch         -  (80 % of 1 is less than 1)" in show(max_batch_panel(one, 80), 80)
    row = show(max_batch_table([not_searched, one], 120), 120).splitlines()[3].split()
    assert row[:5] == ["rtx-4090", "24.00", "GiB", "282", "-"]


def test_trials_out_of_memory_are_lower_bounds(answer: MaxBatch, show: Show) -> None:
    rows = [line.split() for line in show(max_batch_panel(answer, 80), 80).splitlines()]
    assert ["283", "oom", ">", "23.00", "GiB", ">", "23.50", "GiB", ">", "24.00", "GiB", "0.2"] in rows
