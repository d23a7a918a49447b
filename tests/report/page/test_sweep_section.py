"""A sweep: what each row reached, what it needs at least, and what the estimate says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memprof.records import RunRecord, Source, Status
from memprof.report.figures import ESTIMATE, PEAK
from memprof.report.page.sweep_section import estimate_bars, estimate_table, readings_table, sweep_section
from memprof.units import GIB
from tests.report.page.conftest import column


def test_row_out_of_memory_shows_lower_bounds(records: list[RunRecord]) -> None:
    table = readings_table(records)
    assert column(table, "peak")[:3] == ["65.81 MiB", "66.58 MiB", "> 69.66 MiB"]
    assert column(table, "reserved")[2] == "> 70.00 MiB"
    assert column(table, "NVML")[2] == "> 570.00 MiB"
    assert column(table, "bytes")[2] == "-"
    assert "A run that did not finish needs at least what it reached (>, ≥)." in table.notes


def test_row_that_was_killed_shows_at_least_what_it_reached(records: list[RunRecord]) -> None:
    table = readings_table([replace(records[0], status=Status.KILLED)])
    assert column(table, "peak") == ["≥ 65.81 MiB"]


def test_bar_out_of_memory_has_no_peak_marker(records: list[RunRecord]) -> None:
    bars = estimate_bars(records)
    assert [bar.mark for bar in bars.bars] == [None, None]
    assert bars.bars[0].note == "batch 1,024: out of memory"
    finished = estimate_bars(records[:2]).bars[0]
    assert records[1].reading is not None
    assert (finished.mark, finished.note) == (records[1].reading.peak_allocated_bytes, "batch 256")


def test_headings_are_those_of_the_figures(records: list[RunRecord]) -> None:
    headings = {heading.text: heading for heading in readings_table(records).headings}
    assert headings[PEAK.heading].counts == PEAK.counts
    assert headings[ESTIMATE.heading].group == "analytic"
    assert [heading.group for heading in headings.values() if heading.text == "bytes"] == ["peak − estimate"]


def test_percent_of_tiny_estimates_is_left_out(records: list[RunRecord]) -> None:
    table = readings_table(records)
    assert "percent" not in [heading.text for heading in table.headings]
    breakdown = records[0].breakdown
    assert breakdown is not None
    large = replace(records[0], breakdown=replace(breakdown, activations_bytes=GIB))
    mixed = readings_table([large, *records[1:2]])
    assert column(mixed, "percent") == ["-93.6 %", "-"]
    assert mixed.notes == ("No percentage for an estimate below 8 MiB: one library workspace would exceed it.",)


@pytest.mark.parametrize(
    ("source", "caption"), [(Source.MEASURED, "Measured results"), (Source.EMULATED, "Emulated results")]
)
def test_caption_names_source(records: list[RunRecord], source: Source, caption: str) -> None:
    assert readings_table([replace(record, source=source) for record in records]).caption == caption


def test_analytic_sweep_has_no_readings(records: list[RunRecord]) -> None:
    rows = [replace(record, source=Source.ANALYTIC, status=Status.OK, reading=None) for record in records]
    section = sweep_section(rows)
    assert section.lead == ()
    assert [part.caption for part in section.parts] == [
        "Analytic estimate against batch size",
        "Estimate from shapes and dtypes",
        "Analytic estimate by category, at the largest batch size",
    ]
    assert estimate_table(rows).brief
    assert not estimate_table(records).brief
