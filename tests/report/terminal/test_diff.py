"""The table of two saved results, row by row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import RenderableType
from syrupy.assertion import SnapshotAssertion

from memprof.records import RunRecord
from memprof.report.terminal.diff import diff_table
from memprof.results.diff import Comparison, compare_results
from tests.report.terminal.conftest import save_as

Show = Callable[[RenderableType, int], str]
MakeRecord = Callable[..., RunRecord]


@pytest.mark.parametrize("width", [80, 120])
def test_diff_table_looks_as_agreed(
    comparison: Comparison, show: Show, snapshot: SnapshotAssertion, width: int
) -> None:
    assert show(diff_table(comparison, width), width) == snapshot


@pytest.mark.parametrize("width", [80, 120])
def test_diff_table_of_comparisons_names_each_variant(
    make_record: MakeRecord, show: Show, snapshot: SnapshotAssertion, width: int
) -> None:
    settings = {"base": 0, "optimizer=adam": 2, "activation_checkpointing=2, channels_last=true": 0}
    before = [make_record("sgd", kept, 64, variant=label) for label, kept in settings.items()]
    after = [make_record("sgd", kept + 1, 64, variant=label) for label, kept in settings.items()]
    shown = show(diff_table(compare_results(save_as("a", *before), save_as("b", *after)), width), width)
    assert shown == snapshot
    assert max(len(line) for line in shown.splitlines()) <= width


def test_diff_table_if_forced_lists_the_mismatches(make_record: MakeRecord, show: Show) -> None:
    row = make_record("sgd", 0, 64)
    other = replace(row, environment=replace(row.environment, gpu="t4"))
    forced = compare_results(save_as("a", row), save_as("b", other, gpu="t4"), force=True)
    shown = show(diff_table(forced, 80), 80)
    assert "different: GPU NVIDIA H100 80GB HBM3 → t4\n" in shown
    assert shown.startswith("mnist_mlp · emulated\n")
