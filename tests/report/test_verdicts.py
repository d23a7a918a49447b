"""The one-line answers: what fits, how much is used, and no truncated peak shown as a need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from memprof.breakdown.module_summary import ModuleSummary, SummaryRow
from memprof.records import MaxBatch, RunRecord, Source, Status, StopReason
from memprof.report.verdicts import (
    compare_verdict,
    diff_verdict,
    explain_verdict,
    max_batch_verdict,
    smallest_variant,
    summary_verdict,
    sweep_verdict,
)
from memprof.results.comparison import VariantResult
from memprof.results.diff import compare_results
from memprof.units import GIB, MIB
from tests.samples import (
    sample_breakdown,
    sample_config,
    sample_environment,
    sample_explained,
    sample_max_batch,
    sample_reading,
    sample_record,
    sample_result,
)

H100 = sample_environment(gpu_total_bytes=80 * GIB)


def ran(batch_size: int, reserved_gib: int, **changes: Any) -> RunRecord:
    reading = sample_reading(
        peak_allocated_bytes=reserved_gib * GIB, peak_reserved_bytes=reserved_gib * GIB, context_bytes=GIB
    )
    return sample_record(batch_size=batch_size, reading=reading, environment=H100, **changes)


def refused(batch_size: int, estimate_gib: int = 90) -> RunRecord:
    breakdown = sample_breakdown(activations_bytes=estimate_gib * GIB - 4_500)
    return ran(batch_size, 79, breakdown=breakdown, status=Status.OOM, error="backward: CUDA out of memory.")


NO_GPU = sample_environment(source=Source.ANALYTIC, gpu=None, gpu_total_bytes=None)


@pytest.mark.parametrize(
    ("records", "verdict"),
    [
        (
            [ran(64, 10), ran(256, 39)],
            "fits up to batch 256 with adam: 40.00 of 80.00 GiB (50 %) on h100-80gb (phantom)",
        ),
        (
            [ran(64, 10), refused(1024), refused(2048)],
            "does not fit at batch 1,024 with adam: needs about 90.00 GiB (estimate), "
            "h100-80gb (phantom) has 80.00 GiB; batch 64 ran",
        ),
        (
            [refused(1024, estimate_gib=70)],
            "does not fit at batch 1,024 with adam: needs more memory than there is, "
            "h100-80gb (phantom) has 80.00 GiB; no smaller batch was run",
        ),
        (
            [ran(64, 10), sample_record(batch_size=256, status=Status.ERROR, reading=None, error="no")],
            "fits up to batch 64 with adam: 11.00 of 80.00 GiB (14 %) on h100-80gb (phantom); 1 of 2 points failed",
        ),
        (
            [sample_record(status=Status.KILLED, reading=None, error="no")],
            "unknown: no point finished; the first ended with killed",
        ),
        (
            [sample_record(source=Source.ANALYTIC, reading=None, environment=NO_GPU)],
            "no GPU was used: at most 5.86 KiB at batch 64 with adam (analytic estimate)",
        ),
    ],
    ids=["all_fit", "one_does_not", "low_estimate", "failed", "killed", "no_gpu"],
)
def test_sweep_verdict_says_what_fits(records: Sequence[RunRecord], verdict: str) -> None:
    assert sweep_verdict(records) == verdict


def test_sweep_verdict_never_shows_a_truncated_peak() -> None:
    for estimate in (70, 90):
        assert "79.00" not in sweep_verdict([refused(1024, estimate)])


@pytest.mark.parametrize(
    ("answers", "verdict"),
    [
        ([sample_max_batch()], "fits: largest batch 600 on h100-80gb (phantom), 79.18 of 79.18 GiB (99 %)"),
        (
            [sample_max_batch(verified=False, stopped_by=StopReason.MAX, free_bytes=None)],
            "fits: largest batch ≥ 600 on h100-80gb (phantom)",
        ),
        ([sample_max_batch(largest_batch_size=0)], "does not fit on h100-80gb (phantom)"),
        (
            [
                sample_max_batch(gpu="t4", largest_batch_size=0),
                sample_max_batch(gpu="l4", largest_batch_size=20, free_bytes=None),
                sample_max_batch(gpu="a10", largest_batch_size=30, free_bytes=None),
            ],
            "fits on 2 of 3 GPUs: batch 30 on a10 (phantom) … 20 on l4 (phantom)",
        ),
    ],
    ids=["one", "not_searched", "none", "several"],
)
def test_max_batch_verdict_names_the_largest_batch(answers: list[MaxBatch], verdict: str) -> None:
    assert max_batch_verdict(answers) == verdict


def test_explain_verdict_says_whether_it_fits() -> None:
    explained = sample_explained()
    fits = "fits at batch 64 with adam: "
    assert explain_verdict(replace(explained, record=ran(64, 39))) == (
        f"{fits}40.00 of 80.00 GiB (50 %) on h100-80gb (phantom)"
    )
    assert explain_verdict(replace(explained, record=refused(64))) == (
        "does not fit at batch 64 with adam: needs about 90.00 GiB (estimate), h100-80gb (phantom) has 80.00 GiB"
    )
    killed = sample_record(status=Status.KILLED, reading=None, error="no")
    assert explain_verdict(replace(explained, record=killed)) == "unknown: the run ended with killed"


def variant(record: RunRecord, **settings: str) -> VariantResult:
    return VariantResult(group="", name="", settings=settings, config=sample_config(), record=record)


def test_compare_verdict_names_the_smallest_variant() -> None:
    base, smaller = variant(ran(64, 40), precision="fp32", seed="1"), variant(ran(64, 30), precision="bf16", seed="1")
    oom = variant(refused(64), precision="fp64", seed="1")
    assert smallest_variant([base, oom, smaller]) is smaller
    assert compare_verdict([base, oom, smaller]) == (
        "smallest: precision=bf16, peak 30.00 GiB (emulated): -10.00 GiB against the base (-25.0 %)"
    )
    assert compare_verdict([base, oom]) == "no variant is below the base: peak 40.00 GiB (emulated)"
    assert compare_verdict([oom, smaller]) == (
        "smallest: precision=bf16, peak 30.00 GiB (emulated); the base did not finish"
    )
    assert compare_verdict([oom]) == (
        "does not fit at batch 64: no variant ran to its end; the base needs about 90.00 GiB (estimate), "
        "h100-80gb (phantom) has 80.00 GiB"
    )
    broken = variant(sample_record(status=Status.ERROR, reading=None, error="no"))
    assert compare_verdict([broken]) == "unknown: no variant ran to its end; the base ended with error"


def sample_summary(batch_size: int) -> ModuleSummary:
    row = SummaryRow(
        path="",
        type="Net",
        calls=(),
        parameters=1_234_567,
        trainable_parameters=1,
        parts={"parameters": 3 * MIB, "activations": MIB},
        shared={},
    )
    return ModuleSummary(
        model="net",
        optimizer="adam",
        precision="fp32",
        mode="train",
        batch_size=batch_size,
        optimizer_in_backward=False,
        rows=(row,),
        outside_parts={"input": MIB},
    )


def test_summary_verdict_has_parameters_and_estimate() -> None:
    assert summary_verdict(sample_summary(1_024)) == (
        "1,234,567 parameters; one step at batch 1,024 with adam takes about 5.00 MiB (analytic estimate)"
    )


def test_diff_verdict_counts_rows_and_names_the_largest_change() -> None:
    def verdict(*after: RunRecord) -> str:
        return diff_verdict(compare_results(sample_result(ran(64, 10), ran(256, 20)), sample_result(*after, path="b")))

    assert verdict(ran(64, 10), ran(256, 20)) == "no change: peak is the same in all 2 rows that finished in both"
    assert verdict(ran(64, 11), ran(256, 15)) == (
        "peak grew in 1 and shrank in 1 of 2 rows; most -5.00 GiB (-25.0 %) for adam, batch 256"
    )
    assert verdict(refused(64), ran(256, 20)) == "no change: peak is the same in all 1 rows that finished in both"
