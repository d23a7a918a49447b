"""Choose the plot of a saved result, and build its data model. Nothing is drawn here."""

from __future__ import annotations

from collections.abc import Mapping

from memprof.breakdown.explanation import Explained
from memprof.errors import ConfigError, ResultError
from memprof.records import Status
from memprof.report.plots import readings
from memprof.report.plots.batch import batch_plot
from memprof.report.plots.categories import categories_of_comparison, categories_of_explanation, categories_of_sweep
from memprof.report.plots.elements import Plot, PlotKind
from memprof.report.plots.timeline import timeline_plot
from memprof.results import Kind, Result, load_document
from memprof.results.fullest import fullest_records

# The plots of each kind of result; the first is drawn unless another one is requested.
PLOTS: Mapping[Kind, tuple[PlotKind, ...]] = {
    Kind.SWEEP: (PlotKind.BATCH, PlotKind.CATEGORIES),
    Kind.COMPARE: (PlotKind.CATEGORIES,),
    Kind.EXPLAIN: (PlotKind.TIMELINE, PlotKind.CATEGORIES),
}


def kinds_with(kind: PlotKind | None) -> tuple[Kind, ...]:
    """Return the kinds of results that have a plot of this kind, or any plot."""
    return tuple(of for of, plots in PLOTS.items() if kind is None or kind in plots)


def plot_of(result: Result, kind: PlotKind | None = None) -> Plot:
    """Return a plot of a saved result: that of `kind`, or the first one that suits the result.

    Raises:
        ConfigError: the result has no plot of that kind.
        ResultError: nothing in the result can be drawn, or its document cannot be read.
    """
    kinds = PLOTS[result.manifest.kind]
    if kind is not None and kind not in kinds:
        known = " or ".join(kinds)
        raise ConfigError(f"--kind {kind}: {result.path} holds {result.manifest.kind.noun}; its kinds are {known}")
    if result.manifest.kind is Kind.EXPLAIN:
        return _of_explanation(result, kind or PlotKind.TIMELINE)
    _check_drawable(result)
    if result.manifest.kind is Kind.COMPARE:
        return categories_of_comparison(result)
    records = fullest_records(result.records)
    one_size = len({record.batch_size for record in records}) == 1
    categories = kind is PlotKind.CATEGORIES or (kind is None and one_size)
    return categories_of_sweep(records) if categories else batch_plot(records)


def _of_explanation(result: Result, kind: PlotKind) -> Plot:
    explained = load_document(result.path, Explained)
    try:
        timeline = kind is PlotKind.TIMELINE
        return timeline_plot(explained) if timeline else categories_of_explanation(explained)
    except ResultError as error:
        raise ResultError(f"{result.path}: {error}") from None


def _check_drawable(result: Result) -> None:
    if not result.records:
        raise ResultError(f"{result.path}: nothing to plot: it has no rows")
    failed = [record for record in result.records if record.status not in (Status.OK, Status.OOM)]
    if len(failed) == len(result.records):
        reason = failed[0].error or failed[0].status.value
        raise ResultError(f"{result.path}: nothing to plot: all {len(failed)} rows failed; the first: {reason}")
    if not any(readings.peak(record) or readings.total(record) for record in result.records):
        raise ResultError(f"{result.path}: nothing to plot: no row has a peak or an analytic estimate")
