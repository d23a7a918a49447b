"""Where a result says that it depends on values, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from memprof.records import HostValues, RunRecord
from memprof.report.page.max_batch_section import max_batch_section
from memprof.report.terminal.max_batch import max_batch_panel, max_batch_table
from memprof.report.value_notes import value_notes
from tests.samples import sample_max_batch

Show = Callable[..., str]


def reading(record: RunRecord, **changes: Any) -> RunRecord:
    assert record.reading is not None
    return replace(record, reading=replace(record.reading, **changes))


def test_one_record_has_no_count_of_rows(sweep: Sequence[RunRecord]) -> None:
    [note] = value_notes([reading(sweep[0], zeros_read=37)])
    assert note == (
        "depends on values: 37 reads of unknown values, each as zeros; the true peak may differ; use --values cpu."
    )


def test_values_of_the_cpu_need_no_advice(sweep: Sequence[RunRecord]) -> None:
    cost = HostValues(operators=9, operators_run=4, seconds=0.25, peak_bytes=1 << 20)
    [note] = value_notes([reading(sweep[0], zeros_read=0, host_values=cost)])
    assert note == "values: the CPU computed 4 operators in 0.2 s, with up to 1.00 MiB of host memory."
    first, _second = value_notes([reading(sweep[0], zeros_read=2, host_values=cost)])
    assert "--values" not in first


@pytest.mark.parametrize("reads", [None, 0])
def test_largest_batch_without_unknown_reads_says_nothing(reads: int | None) -> None:
    section = max_batch_section([replace(sample_max_batch(), zeros_read=reads)])
    assert "values" not in " ".join(section.lead)


def test_largest_batch_that_depends_on_values_says_so(show: Show) -> None:
    answer = replace(sample_max_batch(), zeros_read=12)
    note = "12 reads of unknown values, each as zeros; the true limit may differ; use --values cpu"
    assert f"Depends on values: {note}." in max_batch_section([answer]).lead
    panel = " ".join(show(max_batch_panel(answer, 200), 200).replace("│", " ").split())
    assert f"depends on values {note}" in panel
    assert f"depends on values: {note.replace('12', '24')}." in show(max_batch_table([answer, answer], 200), 200)
