"""The verdict of a check against a baseline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rich.console import RenderableType
from syrupy.assertion import SnapshotAssertion

from memprof.records import RunRecord
from memprof.report.terminal.check import check_report
from memprof.results.diff import Comparison
from memprof.results.regression import Limit, check_results
from memprof.results.rows import RowName

Show = Callable[[RenderableType, int], str]
MakeRecord = Callable[..., RunRecord]


def test_check_report_names_grown_and_missing_rows(
    comparison: Comparison, show: Show, snapshot: SnapshotAssertion
) -> None:
    missing = replace(
        comparison, pairs=(*comparison.pairs, replace(comparison.pairs[0], name=RowName("sgd", 1), after=None))
    )
    assert show(check_report(check_results(missing, Limit(percent=1.0))), 80) == snapshot
