"""The choice of a plot for a saved result, and the reasons for which there is none."""

from __future__ import annotations

import pytest

from memprof.errors import ConfigError, ResultError
from memprof.records import Status
from memprof.report.plots.build import plot_of
from memprof.report.plots.elements import BatchPlot, CategoriesPlot, PlotKind
from memprof.results import Result
from tests.report.plots.conftest import MakeRecord, saved


@pytest.mark.parametrize(
    ("sizes", "kind", "drawn"),
    [
        ((16, 64), None, BatchPlot),
        ((16,), None, CategoriesPlot),
        ((16,), PlotKind.BATCH, BatchPlot),
        ((16, 64), PlotKind.CATEGORIES, CategoriesPlot),
    ],
)
def test_plot_kind_suits_result(
    make_record: MakeRecord, sizes: tuple[int, ...], kind: PlotKind | None, drawn: type
) -> None:
    assert isinstance(plot_of(saved([make_record("sgd", size) for size in sizes]), kind), drawn)


def test_plot_kind_unsuitable_is_refused_with_known_kinds(comparison: Result) -> None:
    with pytest.raises(ConfigError, match=r"--kind timeline: results/.* holds a sweep; its kinds are batch or cat"):
        plot_of(saved([]), PlotKind.TIMELINE)
    with pytest.raises(ConfigError, match="holds a comparison; its kinds are categories"):
        plot_of(comparison, PlotKind.BATCH)


def test_nothing_to_plot_gives_reason(make_record: MakeRecord) -> None:
    with pytest.raises(ResultError, match="nothing to plot: it has no rows"):
        plot_of(saved([]))
    failed = make_record("sgd", 16, status=Status.ERROR, reading=None, error="no kernel for this")
    with pytest.raises(ResultError, match="all 2 rows failed; the first: no kernel for this"):
        plot_of(saved([failed, failed]))
    empty = make_record("sgd", 16, status=Status.OOM, reading=None, breakdown=None)
    with pytest.raises(ResultError, match="no row has a peak or an analytic estimate"):
        plot_of(saved([empty]))
