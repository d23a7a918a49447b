"""The verdict: what is verified, what is a lower bound, and what is unknown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from memprof.records import MaxBatch, RunRecord, Source, Status, StopReason
from memprof.report.page.collect import Records, ReportInputs, Saved
from memprof.report.page.summary_section import Fits, Verdict, summarize
from memprof.results import Kind, Manifest


@pytest.fixture
def of_sweep(manifest: Callable[..., Manifest]) -> Callable[[Sequence[RunRecord]], Verdict]:
    def make(records: Sequence[RunRecord]) -> Verdict:
        made = manifest(Kind.SWEEP, environment=records[0].environment)
        saved: Saved[Records] = Saved(path=None, manifest=made, content=tuple(records))  # type: ignore[arg-type]
        return summarize(ReportInputs(name="sample", environment=made.environment, sweep=saved))

    return make


@pytest.fixture
def of_search(manifest: Callable[..., Manifest]) -> Callable[..., Verdict]:
    def make(*answers: MaxBatch) -> Verdict:
        made = manifest(Kind.MAX_BATCH)
        saved = Saved(path=None, manifest=made, content=list(answers))  # type: ignore[arg-type]
        return summarize(ReportInputs(name="sample", environment=made.environment, max_batch=saved))

    return make


def values(verdict: Verdict) -> dict[str, str]:
    return {fact.name: fact.value for fact in verdict.facts}


def test_verified_limit_is_reported_as_largest(of_search: Callable[..., Verdict], max_batch: MaxBatch) -> None:
    verdict = of_search(max_batch)
    assert (verdict.fits, verdict.headline) == (Fits.YES, "It fits: the largest batch that trains is 600.")
    assert values(verdict)["Safe batch"] == "480"
    assert verdict.facts[0].detail == "600 trains, 601 does not"
    assert values(verdict)["GPU memory used"] == "60.18 GiB"


@pytest.mark.parametrize(("largest", "safe"), [(2, "1"), (4, "3"), (5, "4"), (1009, "807"), (1500, "1,200")])
def test_safe_batch_is_rounded_down(
    of_search: Callable[..., Verdict], max_batch: MaxBatch, largest: int, safe: str
) -> None:
    assert values(of_search(replace(max_batch, largest_batch_size=largest)))["Safe batch"] == safe


def test_safe_batch_is_a_multiple_of_multiple_of(of_search: Callable[..., Verdict], max_batch: MaxBatch) -> None:
    found = {
        largest: replace(max_batch, largest_batch_size=largest, multiple_of=8) for largest in (8, 16, 24, 80, 96, 600)
    }
    assert [each.safe_batch_size for each in found.values()] == [None, 8, 16, 64, 72, 480]
    assert values(of_search(found[96]))["Safe batch"] == "72"
    assert of_search(found[8]).facts[1].detail == "80 % of 8 is less than 8, the smallest multiple"


def test_safe_batch_below_one_sample_is_unknown(of_search: Callable[..., Verdict], max_batch: MaxBatch) -> None:
    verdict = of_search(replace(max_batch, largest_batch_size=1))
    assert verdict.fits is Fits.YES
    assert values(verdict)["Safe batch"] == "-"
    assert verdict.facts[1].detail == "80 % of 1 is less than one sample"


@pytest.mark.parametrize(
    ("confirmed", "detail"),
    [
        (Status.OK, "80 % of the largest; verified with five steps plus evaluation"),
        (Status.OOM, "80 % of the largest; five steps plus evaluation ended with oom"),
        (None, "80 % of the largest"),
    ],
)
def test_safe_batch_names_its_verification(
    of_search: Callable[..., Verdict], max_batch: MaxBatch, confirmed: Status | None, detail: str
) -> None:
    assert of_search(replace(max_batch, confirmed=confirmed)).facts[1].detail == detail
    bare = of_search(replace(max_batch, confirmed=confirmed, evaluates=False))
    assert bare.facts[1].detail == detail.replace(" plus evaluation", "")


@pytest.mark.parametrize("reason", [StopReason.MAX, StopReason.TIME])
def test_unverified_limit_is_lower_bound_without_safe_batch(
    of_search: Callable[..., Verdict], max_batch: MaxBatch, reason: StopReason
) -> None:
    verdict = of_search(replace(max_batch, verified=False, stopped_by=reason))
    assert verdict.headline == "It fits: batch 600 trains, and larger ones may."
    assert values(verdict)["Largest batch"] == "≥ 600"
    assert "Safe batch" not in values(verdict)


def test_search_without_time_leaves_fit_unknown(of_search: Callable[..., Verdict], max_batch: MaxBatch) -> None:
    verdict = of_search(replace(max_batch, largest_batch_size=0, stopped_by=StopReason.TIME, trials=()))
    assert verdict.fits is Fits.UNKNOWN
    assert "time limit" in verdict.headline


def test_model_that_does_not_fit_is_reported_with_its_need(
    of_search: Callable[..., Verdict], max_batch: MaxBatch
) -> None:
    verdict = of_search(replace(max_batch, largest_batch_size=0, smallest_footprint_bytes=100 * 1024**3, trials=()))
    assert verdict.fits is Fits.NO
    assert "batch 1 needs 100.00 GiB" in verdict.headline
    assert "Safe batch" not in values(verdict)


def test_several_gpus_are_counted(of_search: Callable[..., Verdict], max_batch: MaxBatch) -> None:
    small = replace(max_batch, gpu="t4", largest_batch_size=0)
    verdict = of_search(max_batch, small, replace(max_batch, gpu="b200", largest_batch_size=900))
    assert verdict.headline == "It fits on 2 of 3 GPUs."
    assert values(verdict) == {
        "Largest batch, b200": "900",
        "Largest batch, h100-80gb": "600",
        "Source": "emulated",
    }


def test_sweep_gives_lower_bound(of_sweep: Callable[[Sequence[RunRecord]], Verdict], records: list[RunRecord]) -> None:
    ran = of_sweep([row for row in records if row.status is Status.OK])
    assert (ran.fits, ran.headline) == (Fits.YES, "It fits: all tested batch sizes ran, up to 256.")
    assert values(ran)["Largest batch"] == "≥ 256"
    assert "limit not searched" in ran.facts[0].detail
    assert "Safe batch" not in values(ran)
    part = of_sweep(records)
    assert (part.fits, part.headline) == (Fits.YES, "It fits in part: adam, batch 1,024 ran out of memory.")


def test_lower_bound_is_of_optimizer_with_smallest_batch(
    of_sweep: Callable[[Sequence[RunRecord]], Verdict], records: list[RunRecord]
) -> None:
    rows = [
        replace(row, status=Status.OOM) if row.optimizer == "adam" and row.batch_size > 64 else row for row in records
    ]
    verdict = of_sweep(rows)
    assert verdict.headline == "It fits in part: adam, batch 256 ran out of memory."
    assert values(verdict)["Largest batch"] == "≥ 64"
    assert "with adam" in verdict.facts[0].detail


@pytest.mark.parametrize(
    ("status", "fits", "says"),
    [
        (Status.OOM, Fits.NO, "It does not fit: batch 64 ran out of memory."),
        (Status.ERROR, Fits.UNKNOWN, "No run finished, so whether it fits is unknown."),
    ],
)
def test_no_finished_run_gives_reason(
    of_sweep: Callable[[Sequence[RunRecord]], Verdict],
    records: list[RunRecord],
    status: Status,
    fits: Fits,
    says: str,
) -> None:
    verdict = of_sweep([replace(row, status=status) for row in records])
    assert (verdict.fits, verdict.headline) == (fits, says)
    bound = ">" if status is Status.OOM else "≥"
    assert values(verdict)["Peak allocated"] == f"{bound} 69.66 MiB"
    assert values(verdict)["GPU memory used"] == f"{bound} 570.00 MiB"
    assert verdict.facts[0].detail == f"by PyTorch until it ended with {status.value}; adam, batch 1,024"


def test_failed_row_is_named_in_headline(
    of_sweep: Callable[[Sequence[RunRecord]], Verdict], records: list[RunRecord]
) -> None:
    rows = [records[0], replace(records[1], status=Status.KILLED)]
    assert of_sweep(rows).headline == "It fits as far as it ran: adam, batch 256 ended with killed."


def test_analytic_records_leave_fit_unknown(
    of_sweep: Callable[[Sequence[RunRecord]], Verdict], records: list[RunRecord]
) -> None:
    environment = replace(records[0].environment, source=Source.ANALYTIC, gpu=None, gpu_total_bytes=None)
    row = replace(records[0], source=Source.ANALYTIC, reading=None, environment=environment)
    verdict = of_sweep([row])
    assert verdict.fits is Fits.UNKNOWN
    assert set(values(verdict)) == {"Analytic estimate", "Source"}
    assert values(verdict)["Source"] == "analytic"
