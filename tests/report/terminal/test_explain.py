"""The explanation as a terminal shows it, at 80 and 120 columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import RenderableType
from syrupy.assertion import SnapshotAssertion

from memprof.records import Status
from memprof.report.terminal.explain import explain_report, peak_report, short_lines
from tests.samples import sample_explained

Show = Callable[[RenderableType, int], str]


@pytest.mark.parametrize("width", [80, 120])
def test_explain_report_looks_as_agreed(show: Show, width: int, snapshot: SnapshotAssertion) -> None:
    shown = show(explain_report(sample_explained(), None, 5, width), width)
    assert max(map(len, shown.splitlines())) <= width
    assert shown == snapshot


def test_explain_report_without_explanation_has_the_reason(show: Show) -> None:
    explained = sample_explained()
    record = replace(explained.record, status=Status.ERROR, error="forward of step 1: ValueError: mine", reading=None)
    shown = show(explain_report(replace(explained, record=record, explanation=None, differences=()), 2, 5, 80), 80)
    assert "ended with error: forward of step 1: ValueError: mine" in shown
    assert "From requested" not in shown


def test_peak_report_without_config_has_no_analytic_column(show: Show) -> None:
    explanation = sample_explained().explanation
    assert explanation is not None
    shown = show(peak_report(explanation, "my loop", None, 80), 80)
    assert shown.startswith("my loop")
    assert "analytic" not in shown
    assert "snapshot" in shown


def test_short_lines_keep_a_folder_only_for_equal_names() -> None:
    lines = ["/a/models/net.py:3", "/b/train.py:9", "/c/other/net.py:3", None]
    assert short_lines(lines) == ["models/net.py:3", "train.py:9", "other/net.py:3", "-"]


def test_explain_report_wraps_a_long_reason(show: Show) -> None:
    explained = sample_explained()
    reason = "cuDNN workspace of convolution_backward 36.75 MiB, cuBLASLt workspace 32.00 MiB and 11 more"
    differences = [replace(row, reason=reason) if row.name == "workspace" else row for row in explained.differences]
    shown = show(explain_report(replace(explained, differences=tuple(differences)), 2, 5, 80), 80)
    assert max(map(len, shown.splitlines())) <= 80
    assert reason in " ".join(shown.split())


def test_peak_report_names_the_module_of_a_block_once(show: Show) -> None:
    explanation = sample_explained().explanation
    assert explanation is not None
    shown = show(peak_report(explanation, "my loop", None, 120, most_blocks=40), 120)
    assert "1: output of 1" not in shown
    assert "3: output of the model" in shown
    assert "1: exp_avg of 1.weight" not in shown
