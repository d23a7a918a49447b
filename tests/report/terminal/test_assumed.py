"""The star at figures of NVML that contain an assumed CUDA context."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import RenderableType

from memprof.records import RunRecord, Source
from memprof.report.assumed import ASSUMED_CONTEXT, assumes_context
from memprof.report.terminal.explain import explain_report
from memprof.report.terminal.sweep import sweep_table
from tests.samples import sample_environment, sample_explained, sample_record

Show = Callable[[RenderableType, int], str]


@pytest.mark.parametrize(
    ("gpu", "source", "assumed"),
    [
        ("t4", Source.EMULATED, True),
        ("h200", Source.EMULATED, False),
        ("generic-24gib", Source.EMULATED, False),  # as an H100
        ("no-such-gpu", Source.EMULATED, False),
        ("Tesla T4", Source.MEASURED, False),
        (None, Source.ANALYTIC, False),
    ],
)
def test_context_is_assumed_only_of_a_phantom_without_figure(gpu: str | None, source: Source, assumed: bool) -> None:
    assert assumes_context(sample_environment(gpu=gpu, source=source)) is assumed


def on(gpu: str, record: RunRecord) -> RunRecord:
    return replace(record, environment=replace(record.environment, gpu=gpu))


@pytest.mark.parametrize(("gpu", "starred"), [("t4", True), ("h200", False)])
def test_sweep_table_stars_nvml_with_an_assumed_context(gpu: str, starred: bool, show: Show) -> None:
    text = show(sweep_table([on(gpu, sample_record())], 120), 120)
    assert "NVML" in text
    assert ("NVML*" in text, ASSUMED_CONTEXT in " ".join(text.split())) == (starred, starred)


@pytest.mark.parametrize(("gpu", "starred"), [("t4", True), ("h200", False)])
def test_explain_report_stars_the_assumed_context(gpu: str, starred: bool, show: Show) -> None:
    explained = sample_explained()
    text = show(explain_report(replace(explained, record=on(gpu, explained.record)), 0, 1, 120), 120)
    assert "+ context" in text
    assert ("+ context*" in text, ASSUMED_CONTEXT in " ".join(text.split())) == (starred, starred)
