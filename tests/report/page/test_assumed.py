"""The star at figures of the page that contain an assumed CUDA context, and its footnote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from memprof.breakdown.explanation import Explained, TrackedPeak
from memprof.records import MaxBatch, Phase, RunRecord, Source, Status
from memprof.report.assumed import ASSUMED_CONTEXT
from memprof.report.page.chart_data import trials_chart
from memprof.report.page.collect import ReportInputs, Saved
from memprof.report.page.document import make_page
from memprof.report.page.elements import Bars, Table
from memprof.report.page.explain_section import explain_section
from memprof.report.page.html import to_html, tracked_to_html
from memprof.report.page.markdown import escape, to_markdown
from memprof.report.page.max_batch_section import gpus_table, trials_table
from memprof.report.page.summary_section import summarize
from memprof.report.page.sweep_section import readings_table
from memprof.report.page.tracked import tracked_page
from memprof.results import Kind, Manifest
from tests.report.page.conftest import column
from tests.samples import sample_max_batch

EACH = pytest.mark.parametrize(("gpu", "starred"), [("l4", True), ("h200", False)])


def on(gpu: str, record: RunRecord, source: Source = Source.EMULATED) -> RunRecord:
    return replace(record, environment=replace(record.environment, gpu=gpu, source=source), source=source)


def headings(table: Table) -> list[str]:
    return [heading.text for heading in table.headings]


def of(manifest: Callable[..., Manifest], kind: Kind, content: Any) -> ReportInputs:
    made = manifest(kind)
    saved: Saved[Any] = Saved(path=None, manifest=made, content=content)  # type: ignore[arg-type]
    named = {Kind.SWEEP: "sweep", Kind.EXPLAIN: "explained", Kind.MAX_BATCH: "max_batch"}[kind]
    changes: dict[str, Any] = {named: saved}
    return ReportInputs(name="sample", environment=made.environment, **changes)


@EACH
def test_nvml_of_a_sweep_has_a_star_and_a_note(gpu: str, starred: bool, records: Sequence[RunRecord]) -> None:
    table = readings_table([on(gpu, record) for record in records])
    assert ("NVML*" in headings(table), "NVML" in headings(table)) == (starred, not starred)
    assert (ASSUMED_CONTEXT in table.notes) == starred


def test_nvml_of_a_real_gpu_has_no_star(records: Sequence[RunRecord]) -> None:
    table = readings_table([on("NVIDIA L4", record, Source.MEASURED) for record in records])
    assert "NVML" in headings(table)
    assert ASSUMED_CONTEXT not in table.notes


@EACH
def test_device_level_has_a_star_and_a_note(gpu: str, starred: bool, explained: Explained) -> None:
    section = explain_section(replace(explained, record=on(gpu, explained.record)))
    levels = next(part for part in section.parts if isinstance(part, Bars))
    device = levels.bars[-1]
    assert device.name == ("device*" if starred else "device")
    assert device.note.endswith("context*" if starred else "context")
    assert (ASSUMED_CONTEXT in levels.notes) == starred
    assert not any("*" in bar.name for bar in levels.bars[:-1])


@EACH
def test_trials_have_a_star_at_device(gpu: str, starred: bool) -> None:
    answer = sample_max_batch(gpu=gpu)
    table, chart = trials_table(answer), trials_chart(answer)
    assert ("device*" in headings(table), ASSUMED_CONTEXT in table.notes) == (starred, starred)
    assert (chart.lines[0].name, ASSUMED_CONTEXT in chart.notes) == ("device*" if starred else "device", starred)


def test_gpus_have_a_star_at_each_assumed_headroom() -> None:
    answers = [sample_max_batch(gpu=gpu) for gpu in ("l4", "h200")]
    answers.append(sample_max_batch(gpu="l4", free_bytes=None))
    table = gpus_table(answers)
    assert sorted(column(table, "headroom")) == ["-", "1.00 MiB", "1.00 MiB*"]
    assert ASSUMED_CONTEXT in table.notes
    assert ASSUMED_CONTEXT not in gpus_table(answers[1:2]).notes


@EACH
@pytest.mark.parametrize("status", [Status.OK, Status.OOM])
def test_fact_of_a_run_has_a_star(
    gpu: str, starred: bool, status: Status, explained: Explained, manifest: Callable[..., Manifest]
) -> None:
    record = replace(on(gpu, explained.record), status=status)
    verdict = summarize(of(manifest, Kind.SWEEP, (record,)))
    value = next(fact.value for fact in verdict.facts if fact.name == "GPU memory used")
    assert (value.endswith("*"), verdict.notes == (ASSUMED_CONTEXT,)) == (starred, starred)


@EACH
def test_fact_of_a_search_has_a_star(
    gpu: str, starred: bool, max_batch: MaxBatch, manifest: Callable[..., Manifest]
) -> None:
    inputs = of(manifest, Kind.MAX_BATCH, [replace(max_batch, gpu=gpu)])
    verdict = make_page(inputs).verdict
    value = next(fact.value for fact in verdict.facts if fact.name == "GPU memory used")
    assert (value, verdict.notes) == ("60.18 GiB*", (ASSUMED_CONTEXT,)) if starred else ("60.18 GiB", ())
    assert (ASSUMED_CONTEXT in to_html(inputs)) == starred
    assert (escape(ASSUMED_CONTEXT) in to_markdown(inputs)) == starred
    assert ("60.18 GiB\\*" in to_markdown(inputs)) == starred


@pytest.mark.parametrize("assumed", [True, False])
def test_tracked_region_has_stars(assumed: bool, explained: Explained) -> None:
    assert explained.explanation is not None
    tracked = TrackedPeak(
        explanation=explained.explanation,
        phase_peaks={Phase.FORWARD: 1},
        model="Net",
        optimizers=("Adam",),
        source=Source.EMULATED,
        gpu="NVIDIA L4 (phantom)",
        gpu_total_bytes=1 << 34,
        torch_version="2.14.1",
        context_is_assumed=assumed,
    )
    verdict = tracked_page(tracked).verdict
    assert (verdict.facts[1].value.endswith("*"), bool(verdict.notes)) == (assumed, assumed)
    assert tracked_to_html(tracked).count(ASSUMED_CONTEXT) == 2 * assumed
