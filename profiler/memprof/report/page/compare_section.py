"""The section of a comparison: what each turn of a knob takes, against the base."""

from __future__ import annotations

from collections.abc import Sequence

from memprof.records import RunRecord, Source
from memprof.report.page.elements import (
    Bar,
    Bars,
    Cell,
    Heading,
    Section,
    Table,
    bytes_cell,
    count_cell,
    percent_cell,
    text_cell,
)
from memprof.report.page.summary_section import what_ran
from memprof.report.page.sweep_section import part_segments, status_cell
from memprof.report.terminal.columns import reason_of
from memprof.results import VariantPlan, name_of
from memprof.results.diff import Pair
from memprof.units import format_bytes, format_percent

_CATEGORIES = ("parameters", "gradients", "optimizer_state", "activations")


def knobs_section(records: Sequence[RunRecord], variants: Sequence[VariantPlan]) -> Section:
    """Return the variants of a comparison, the base first. `variants` are in the order of the records."""
    named = list(zip(records, variants, strict=False))  # an unfinished comparison has fewer records than it planned
    pairs = [Pair(name=name_of(record), before=records[0], after=record) for record in records]
    base = records[0]
    settings = ", ".join(f"{key}={value}" for key, value in variants[0].settings.items())
    lead = (f"The base is {what_ran(base)}: {settings}.",)
    return Section(
        id="knobs", title="Knobs turned", lead=lead, parts=(knobs_bars(named, pairs), knobs_table(named, pairs))
    )


def _figure(record: RunRecord) -> tuple[str, str]:
    analytic = record.source is Source.ANALYTIC
    return ("analytic_total_bytes", "total") if analytic else ("peak_allocated_bytes", "peak")


def knobs_bars(named: Sequence[tuple[RunRecord, VariantPlan]], pairs: Sequence[Pair]) -> Bars:
    """Return the textbook's categories of each variant with a line at its peak, and its change against the base."""
    figure, figure_name = _figure(named[0][0])
    source = named[0][0].source
    base, bars = named[0][0], []
    for (record, variant), pair in zip(named, pairs, strict=True):
        change = pair.change(figure)
        read = record.status.value if change.after_bytes is None else format_bytes(change.after_bytes)
        changed = f", {format_percent(change.percent)}" if change.bytes is not None and record is not base else ""
        bars.append(
            Bar(
                name=_name(variant),
                segments=part_segments(record),
                total_bytes=pair.change("analytic_total_bytes").after_bytes,
                note=f"{figure_name} {read}{changed}",
                mark_bytes=None if source is Source.ANALYTIC else change.after_bytes,
            )
        )
    mark_name = "" if source is Source.ANALYTIC else f"{source.value} peak"
    return Bars(caption="The analytic total of each variant by category", bars=tuple(bars), mark_name=mark_name)


def _name(variant: VariantPlan) -> str:
    return variant.name if variant.group.startswith(("base", variant.name)) else f"{variant.group}: {variant.name}"


def knobs_table(named: Sequence[tuple[RunRecord, VariantPlan]], pairs: Sequence[Pair]) -> Table:
    """Return each variant's breakdown, peak and reserved, and its change against the base."""
    figure, name = _figure(named[0][0])
    source = named[0][0].source.value
    read = () if source == Source.ANALYTIC.value else ("peak_allocated_bytes", "peak_reserved_bytes")
    largest = any(record.largest_batch_size is not None for record, _ in named)
    headings = (
        Heading(text="variant", numeric=False),
        *(Heading(text=category.replace("_", " "), group="analytic") for category in (*_CATEGORIES, "total")),
        *(Heading(text=key.split("_")[1 if "reserved" in key else 0], group=source) for key in read),
        *(Heading(text=text, group=f"{name} less base") for text in ("bytes", "percent")),
        *((Heading(text="largest batch", group=source),) if largest else ()),
        Heading(text="status", numeric=False),
    )
    keys = (*(f"{category}_bytes" for category in _CATEGORIES), "analytic_total_bytes", *read)
    rows = []
    for (record, variant), pair in zip(named, pairs, strict=True):
        change = pair.change(figure)
        figures = [bytes_cell(pair.change(key).after_bytes, style="strong" if key == figure else "") for key in keys]
        changed = [bytes_cell(change.bytes, signed=True), percent_cell(change.percent)]
        if record is named[0][0]:
            changed = [text_cell(""), text_cell("")]
        reach: list[Cell] = [count_cell(record.largest_batch_size)] if largest else []
        rows.append((text_cell(_name(variant)), *figures, *changed, *reach, status_cell(record.status)))
    notes = tuple(f"{_name(variant)}: {reason_of(record)}" for record, variant in named if reason_of(record))
    return Table(caption="Against the base", headings=headings, rows=tuple(rows), notes=notes)
