"""The table of figures against the columns of results.csv."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from memprof.records import RunRecord, Source, Status
from memprof.report.figures import (
    CATEGORIES,
    ESTIMATE,
    FIGURES,
    LEAST_ESTIMATE_BYTES,
    PEAK,
    SUM,
    bound_text,
    bytes_of,
    difference_percent,
    main_figure,
)
from memprof.results import COLUMNS, VARIANT_COLUMNS
from memprof.units import GIB
from tests.samples import sample_explained


@pytest.fixture
def record() -> RunRecord:
    return sample_explained().record


def test_figures_are_columns_with_distinct_headings() -> None:
    assert set(FIGURES) <= {*COLUMNS, *VARIANT_COLUMNS}
    headings = [figure.heading for figure in FIGURES.values()]
    assert len(set(headings)) == len(headings)
    assert all(len(figure.short_heading) <= 15 for figure in FIGURES.values())


def test_categories_add_up_to_the_sum(record: RunRecord) -> None:
    sizes = [bytes_of(record, figure) for figure in CATEGORIES]
    assert sum(size for size in sizes if size is not None) == bytes_of(record, SUM)


def test_estimate_is_the_peak_and_else_the_sum(record: RunRecord) -> None:
    assert record.breakdown is not None
    assert bytes_of(record, ESTIMATE) == bytes_of(record, SUM)
    peak = replace(record, breakdown=replace(record.breakdown, peak_bytes=7))
    assert bytes_of(peak, ESTIMATE) == 7
    assert bytes_of(peak, SUM) == bytes_of(record, SUM)


def test_bytes_of_unknown_is_none(record: RunRecord) -> None:
    assert bytes_of(replace(record, breakdown=None, reading=None), PEAK) is None


def test_main_figure_is_the_peak_unless_nothing_ran() -> None:
    assert [main_figure(source) for source in Source] == [PEAK, PEAK, ESTIMATE]


@pytest.mark.parametrize(("more_bytes", "shown"), [(-1, False), (0, True)])
def test_difference_percent_needs_a_real_estimate(
    record: RunRecord, make: Callable[[RunRecord, int], RunRecord], more_bytes: int, shown: bool
) -> None:
    sized = make(record, LEAST_ESTIMATE_BYTES + more_bytes)
    assert sized.difference_percent is not None
    assert difference_percent(sized) == (sized.difference_percent if shown else None)


@pytest.fixture
def make() -> Callable[[RunRecord, int], RunRecord]:
    """Give a record an estimate of this many bytes."""

    def with_estimate(record: RunRecord, total_bytes: int) -> RunRecord:
        assert record.breakdown is not None
        zero = dict.fromkeys(("buffers_bytes", "gradients_bytes", "optimizer_state_bytes", "input_bytes"), 0)
        parts = replace(record.breakdown, parameters_bytes=total_bytes, activations_bytes=0, **zero)
        return replace(record, breakdown=parts)

    return with_estimate


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (Status.OK, "14.00 GiB"),
        (Status.OOM, "> 14.00 GiB"),
        (Status.KILLED, "≥ 14.00 GiB"),
        (Status.ERROR, "≥ 14.00 GiB"),
    ],
)
def test_peak_of_unfinished_run_is_lower_bound(status: Status, text: str) -> None:
    assert bound_text(14 * GIB, status) == text
    assert bound_text(None, status) == "-"
