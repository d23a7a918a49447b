"""Settings compared: each variant with its change against the base, and no peak for one that did not finish."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memprof.records import RunRecord, Source, Status
from memprof.report.figures import COMPARED_CATEGORIES, ESTIMATE, PEAK, RESERVED
from memprof.report.page.compare_section import compare_section
from memprof.report.page.elements import Bars, Section, Table
from tests.report.page.conftest import VARIANTS, column, compared_rows


@pytest.fixture
def section(records: list[RunRecord]) -> Section:
    return compare_section(compared_rows(records), VARIANTS)


def bars_of(section: Section) -> Bars:
    assert isinstance(section.parts[0], Bars)
    return section.parts[0]


def table_of(section: Section) -> Table:
    assert isinstance(section.parts[1], Table)
    return section.parts[1]


def test_headings_are_those_of_the_figures(section: Section) -> None:
    figures = (*COMPARED_CATEGORIES, ESTIMATE, PEAK, RESERVED)
    headings = table_of(section).headings
    assert [heading.text for heading in headings[1:-3]] == [figure.short_heading for figure in figures]
    assert [heading.counts for heading in headings[1:-3]] == [figure.counts for figure in figures]
    assert [heading.group for heading in headings[-3:-1]] == ["peak change vs base"] * 2


def test_variant_out_of_memory_has_lower_bound_and_no_marker(section: Section) -> None:
    assert column(table_of(section), "peak")[2] == "> 69.66 MiB"
    assert column(table_of(section), "bytes")[2] == "-"
    bar = bars_of(section).bars[2]
    assert (bar.mark, bar.note) == (None, "peak > 69.66 MiB, out of memory")
    assert table_of(section).notes[0].startswith("batch_size: 1024 failed: backward of step 2: CUDA out of memory.")


def test_legend_names_the_peak_only_if_a_bar_has_one(section: Section) -> None:
    bars = bars_of(section)
    assert bars.mark_legend == "emulated peak"
    assert replace(bars, bars=tuple(bar for bar in bars.bars if bar.mark is None)).mark_legend == ""


def test_variant_that_finished_has_marker_and_change(section: Section, records: list[RunRecord]) -> None:
    base, variant, _ = bars_of(section).bars
    assert records[3].reading is not None
    assert variant.mark == records[3].reading.peak_allocated_bytes
    assert (base.note, variant.note) == ("peak 65.81 MiB", "peak 65.81 MiB, +0.0 %")
    assert column(table_of(section), "bytes")[:2] == ["", "0 B"]
    assert column(table_of(section), "variant") == ["base", "optimizer: sgd+momentum", "batch_size: 1024"]


def test_interrupted_comparison_has_first_variants(records: list[RunRecord]) -> None:
    section = compare_section(compared_rows(records)[:2], VARIANTS)
    assert len(bars_of(section).bars) == len(table_of(section).rows) == 2


def test_analytic_comparison_compares_estimates(records: list[RunRecord]) -> None:
    rows = [
        replace(row, source=Source.ANALYTIC, status=Status.OK, reading=None, error=None)
        for row in compared_rows(records)
    ]
    section = compare_section(rows, VARIANTS)
    assert [bar.mark for bar in bars_of(section).bars] == [None] * 3
    assert bars_of(section).bars[2].note == "estimate 5.12 MiB, +188.5 %"
    assert {heading.group for heading in table_of(section).headings} == {"", "analytic", "estimate change vs base"}


def test_largest_batches_are_a_column_if_known(records: list[RunRecord]) -> None:
    rows = [
        replace(row, largest_batch_size=size)
        for row, size in zip(compared_rows(records), (1_200, None, 0), strict=True)
    ]
    assert column(table_of(compare_section(rows, VARIANTS)), "largest batch") == ["1,200", "-", "0"]
