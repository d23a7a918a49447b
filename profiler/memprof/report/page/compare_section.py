"""The section of a comparison: how each setting changes memory, against the base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memprof.records import RunRecord, Source, Status
from memprof.report.figures import (
    COMPARED_CATEGORIES,
    ESTIMATE,
    LARGEST_BATCH,
    PEAK,
    RESERVED,
    SUM,
    Figure,
    bound_text,
    bytes_of,
    main_figure,
)
from memprof.report.page.elements import (
    Bar,
    Bars,
    Cell,
    Heading,
    Section,
    Table,
    bound_cell,
    bytes_cell,
    count_cell,
    figure_heading,
    percent_cell,
    status_cell,
    text_cell,
)
from memprof.report.page.names import failures, run_name, status_text
from memprof.report.page.sweep_section import category_segments
from memprof.report.parallel_notes import parallel_notes
from memprof.results import VariantPlan, name_of
from memprof.results.diff import Change, Pair
from memprof.units import format_percent


@dataclass(frozen=True, kw_only=True)
class _Variant:
    """One variant of a comparison, with its change of the main figure; the base has no change."""

    name: str
    record: RunRecord
    change: Change | None

    @property
    def source(self) -> Source:
        return self.record.source


def compare_section(records: Sequence[RunRecord], plans: Sequence[VariantPlan]) -> Section:
    """Return the variants of a comparison, the base first. `plans` are in the order of the records."""
    variants = _variants(records, plans)
    settings = ", ".join(f"{key}={value}" for key, value in plans[0].settings.items())
    lead = (f"The base is {run_name(records[0])}: {settings}.", *parallel_notes(records))
    parts = (compare_bars(variants), compare_table(variants))
    return Section(id="compare", title="Settings compared", lead=lead, parts=parts)


def _variants(records: Sequence[RunRecord], plans: Sequence[VariantPlan]) -> list[_Variant]:
    base, figure = records[0], main_figure(records[0].source)
    pairs = [Pair(name=name_of(record), before=base, after=record) for record in records]
    return [
        _Variant(name=_name(plan), record=pair.after or base, change=pair.change(figure.key) if place else None)
        # An interrupted comparison has fewer records than plans.
        for place, (pair, plan) in enumerate(zip(pairs, plans, strict=False))
    ]


def _name(plan: VariantPlan) -> str:
    return plan.name if plan.group.startswith(("base", plan.name)) else f"{plan.group}: {plan.name}"


def compare_bars(variants: Sequence[_Variant]) -> Bars:
    """Return the analytic categories of each variant with a line at its peak, and its change against the base."""
    source = variants[0].source
    return Bars(
        caption="Analytic estimate of each variant by category",
        bars=tuple(_variant_bar(variant) for variant in variants),
        mark_name="" if source is Source.ANALYTIC else f"{source.value} peak",
    )


def _variant_bar(variant: _Variant) -> Bar:
    record, figure = variant.record, main_figure(variant.source)
    size, finished = bytes_of(record, figure), record.status is Status.OK
    percent = variant.change.percent if variant.change else None
    note = f"{figure.heading} {bound_text(size, record.status)}"
    note += "" if percent is None else f", {format_percent(percent)}"
    note += "" if finished else f", {status_text(record.status)}"
    return Bar(
        name=variant.name,
        segments=category_segments(record),
        total=bytes_of(record, SUM),
        note=note,
        mark=size if figure is PEAK and finished else None,
    )


def compare_table(variants: Sequence[_Variant]) -> Table:
    """Return the estimate, peak and reserved memory of each variant, and its change against the base."""
    source, figure = variants[0].source, main_figure(variants[0].source)
    readings = () if source is Source.ANALYTIC else (PEAK, RESERVED)
    largest = any(variant.record.largest_batch_size is not None for variant in variants)
    headings = (
        Heading(text="variant", numeric=False),
        *(figure_heading(each, Source.ANALYTIC.value, short=True) for each in (*COMPARED_CATEGORIES, ESTIMATE)),
        *(figure_heading(each, source.value) for each in readings),
        *(Heading(text=text, group=f"{figure.heading} change vs base") for text in ("bytes", "percent")),
        *((figure_heading(LARGEST_BATCH, source.value),) if largest else ()),
        Heading(text="status", numeric=False),
    )
    rows = tuple(_variant_row(variant, readings, largest) for variant in variants)
    notes = failures([variant.record for variant in variants], [variant.name for variant in variants])
    return Table(caption="Change against the base", headings=headings, rows=rows, notes=notes)


def _variant_row(variant: _Variant, readings: Sequence[Figure], largest: bool) -> tuple[Cell, ...]:
    record, change, main = variant.record, variant.change, main_figure(variant.source)
    estimates = (*COMPARED_CATEGORIES, ESTIMATE)
    changes = [text_cell(""), text_cell("")]
    if change is not None:
        changes = [bytes_cell(change.bytes, signed=True), percent_cell(change.percent)]
    return (
        text_cell(variant.name),
        *(bytes_cell(bytes_of(record, each), style="strong" if each is main else "") for each in estimates),
        *(
            bound_cell(bytes_of(record, each), record.status, style="strong" if each is main else "")
            for each in readings
        ),
        *changes,
        *((count_cell(record.largest_batch_size),) if largest else ()),
        status_cell(record.status),
    )
