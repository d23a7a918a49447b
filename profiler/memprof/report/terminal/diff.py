"""The table of `memprof diff`: one saved result against another, row by row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from memprof.records import RunRecord, Source, Status
from memprof.report.figures import RESERVED, Figure, main_figure
from memprof.report.terminal import columns
from memprof.report.terminal.header import source_lines, title_lines
from memprof.report.terminal.layout import Column, Grid, lay_out
from memprof.results.diff import Change, Comparison, Mismatch, Pair
from memprof.units import format_bytes, format_percent


def diff_table(comparison: Comparison, width: int = 80) -> RenderableType:
    """Return the rows of two saved results: peak (the estimate if nothing ran) and reserved, before and after."""
    before, after = comparison.before, comparison.after
    parts: list[RenderableType] = [
        *title_lines([*before.records, *after.records]),
        Text(f"before: {before.path} ({before.manifest.started})", "dim"),
        Text(f"after:  {after.path} ({after.manifest.started})", "dim"),
    ]
    parts += _listed("different: ", comparison.mismatches, "bold magenta")
    parts += _listed("changed in the config: ", comparison.config_changes, "dim")
    both = [pair for pair in comparison.pairs if pair.before and pair.after]
    parts += [Text(), *lay_out(_grid(both), width), Text()]
    alone = _only("only before", [pair for pair in comparison.pairs if pair.after is None])
    alone += _only("only after", [pair for pair in comparison.pairs if pair.before is None])
    parts += [*alone, Text()] if alone else []
    return Group(*parts, *source_lines([record for pair in both for record in (pair.before, pair.after) if record]))


def change_columns(changes: Sequence[Change], group: str, blank: int = 0) -> list[Column]:
    """Return the change in bytes and per cent; the first `blank` rows are what the others are compared with."""
    sizes = [format_bytes(change.bytes, signed=True) for change in changes]
    percents = [format_percent(change.percent).removesuffix(" %") for change in changes]
    return [
        Column(heading=heading, group=group, cells=(*("",) * blank, *cells[blank:]))
        for heading, cells in (("bytes", sizes), ("percent", percents))
    ]


def _grid(pairs: Sequence[Pair]) -> Grid:
    """The rows that both have."""
    olds, news = [pair.before for pair in pairs], [pair.after for pair in pairs]
    analytic = all(record is not None and record.source is Source.ANALYTIC for record in news)
    figure = main_figure(Source.ANALYTIC if analytic else Source.EMULATED)
    changes = [pair.change(figure.key) for pair in pairs]
    shown = [*_before_and_after(olds, news, figure), *change_columns(changes, f"{figure.heading} change")]
    if not analytic:
        shown += _before_and_after(olds, news, RESERVED)
    ends = tuple(_ending(pair) for pair in pairs)
    if set(ends) != {Status.OK.value}:
        shown.append(Column(heading="status", cells=ends, cell_styles=columns.STATUS_STYLES))
    stub = Column(heading="batch", cells=tuple(f"{pair.name.batch_size:,}" for pair in pairs))
    sections = tuple(pair.group for pair in pairs)
    return Grid(stub=stub, columns=tuple(shown), sections=sections)


def _before_and_after(
    olds: Sequence[RunRecord | None], news: Sequence[RunRecord | None], figure: Figure
) -> list[Column]:
    return [
        columns.finished_column(olds, figure, figure.heading, "before"),
        columns.finished_column(news, figure, figure.heading, "after", "bold"),
    ]


def _ending(pair: Pair) -> str:
    ends = [record.status.value for record in (pair.before, pair.after) if record is not None]
    return ends[0] if len(set(ends)) == 1 else " → ".join(ends)


def _only(title: str, pairs: Sequence[Pair]) -> list[Text]:
    return [Text(f"{title}: {'; '.join(pair.label for pair in pairs)}")] if pairs else []


def _listed(title: str, items: Iterable[Mismatch], style: str) -> list[Text]:
    listed = "; ".join(f"{item.name} {item.before} → {item.after}" for item in items)
    return [Text(title + listed, style)] if listed else []
