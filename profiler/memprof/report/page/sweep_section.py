"""The section of a sweep: memory against batch size, measured or emulated, next to the analytic estimate."""

from __future__ import annotations

from collections.abc import Sequence

from memprof.records import RunRecord, Source, Status
from memprof.report.assumed import ASSUMED_CONTEXT, STAR, assumes_context
from memprof.report.figures import (
    CATEGORIES,
    DIFFERENCE,
    ESTIMATE,
    LEAST_ESTIMATE_BYTES,
    NVML_USED,
    PEAK,
    READINGS,
    SUM,
    TEXTBOOK,
    bytes_of,
    difference_percent,
)
from memprof.report.labels import ANALYTIC_ESTIMATE
from memprof.report.loop_notes import loop_notes
from memprof.report.page.chart_data import batch_chart
from memprof.report.page.elements import (
    Bar,
    Bars,
    Cell,
    Heading,
    Section,
    Segment,
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
from memprof.report.parallel_notes import parallel_notes
from memprof.report.plots.batch import batch_plot
from memprof.report.ranks import fullest_note, rank_text, several_ranks, with_most
from memprof.report.terminal.columns import blank_percents
from memprof.report.value_notes import value_notes
from memprof.results.fullest import fullest_records
from memprof.units import MIB

_NAMES = (Heading(text="optimizer", numeric=False), Heading(text="batch"))


def sweep_section(records: Sequence[RunRecord]) -> Section:
    """Return the section: a line for each optimizer, the figures of each row, the analytic estimate by category."""
    analytic = records[0].source is Source.ANALYTIC
    estimated = any(record.mesh is None for record in records)  # one rank of many has no estimate
    parts = (
        batch_chart(batch_plot(fullest_records(records))),
        *(() if analytic else (readings_table(records),)),
        *((estimate_table(records), estimate_bars(records)) if estimated else ()),
    )
    lead = (ANALYTIC_ESTIMATE,) if estimated and not analytic else ()
    return Section(id="sweep", title="Memory against batch size", lead=lead, parts=parts)


def readings_table(records: Sequence[RunRecord]) -> Table:
    """Return the counters of the device next to the analytic estimate."""
    source = records[0].source
    percents = any(difference_percent(record) is not None for record in records)
    ranked, stars = several_ranks(records), {NVML_USED: STAR} if _assumed(records) else {}
    headings = (
        *_NAMES,
        *((Heading(text="rank"),) if ranked else ()),
        figure_heading(ESTIMATE, Source.ANALYTIC.value),
        *(figure_heading(figure, source.value, star=stars.get(figure, "")) for figure in READINGS),
        *(Heading(text=text, group=DIFFERENCE.heading) for text in ("bytes", *(["percent"] if percents else []))),
        Heading(text="status", numeric=False),
    )
    caption = "Measured results" if source is Source.MEASURED else "Emulated results"
    return Table(
        caption=caption,
        headings=headings,
        rows=tuple(_reading_row(record, percents, ranked) for record in with_most(records)),
        notes=_notes(records),
    )


def _reading_row(record: RunRecord, percents: bool, ranked: bool) -> tuple[Cell, ...]:
    return (
        *_name_cells(record),
        *((text_cell(rank_text(record)),) if ranked else ()),
        bytes_cell(bytes_of(record, ESTIMATE)),
        *(bound_cell(bytes_of(record, figure), record.status) for figure in READINGS),
        bytes_cell(record.difference_bytes, signed=True),
        *((percent_cell(difference_percent(record)),) if percents else ()),
        status_cell(record.status),
    )


def estimate_table(records: Sequence[RunRecord]) -> Table:
    """Return the analytic categories, their sum, that of a textbook, and the estimated peak."""
    sums = (SUM, TEXTBOOK)
    figures = (*CATEGORIES, *sums, ESTIMATE)
    headings = (*_NAMES, *(figure_heading(figure, Source.ANALYTIC.value) for figure in figures))
    rows = tuple(
        (
            *_name_cells(record),
            *(bytes_cell(bytes_of(record, figure)) for figure in (*CATEGORIES, *sums)),
            bytes_cell(bytes_of(record, ESTIMATE), style="strong"),
        )
        for record in records
    )
    brief = records[0].source is Source.ANALYTIC  # otherwise the sums are also next to the readings
    return Table(caption="Estimate from shapes and dtypes", headings=headings, rows=rows, brief=brief)


def estimate_bars(records: Sequence[RunRecord]) -> Bars:
    """Return the analytic categories of each optimizer at its largest batch size, with a line at the peak."""
    last = {record.optimizer: record for record in sorted(records, key=lambda record: record.batch_size)}
    source = records[0].source
    return Bars(
        caption="Analytic estimate by category, at the largest batch size",
        bars=tuple(_estimate_bar(record) for record in last.values()),
        mark_name="" if source is Source.ANALYTIC else f"{source.value} peak",
    )


def _estimate_bar(record: RunRecord) -> Bar:
    finished = record.status is Status.OK
    ended = "" if finished else f": {status_text(record.status)}"
    return Bar(
        name=record.optimizer or record.mode,
        segments=category_segments(record),
        total=bytes_of(record, SUM),
        note=f"batch {record.batch_size:,}{ended}",
        mark=bytes_of(record, PEAK) if finished else None,  # what a failed run reached is not its peak
    )


def category_segments(record: RunRecord) -> tuple[Segment, ...]:
    """Return the analytic categories that hold anything."""
    sizes = [(figure, bytes_of(record, figure)) for figure in CATEGORIES]
    return tuple(
        Segment(category=figure.key.removesuffix("_bytes"), name=figure.heading, size=size)
        for figure, size in sizes
        if size
    )


def _name_cells(record: RunRecord) -> tuple[Cell, ...]:
    return text_cell(record.optimizer or record.mode), count_cell(record.batch_size)


def _assumed(records: Sequence[RunRecord]) -> bool:
    return any(assumes_context(record.environment) and record.reading is not None for record in records)


def _notes(records: Sequence[RunRecord]) -> tuple[str, ...]:
    """Why rows failed, and what the figures do not show."""
    notes = list(failures(records, [run_name(record) for record in records]))
    if _assumed(records):
        notes.append(ASSUMED_CONTEXT)
    if any(record.status is not Status.OK and record.reading for record in records):
        notes.append("A run that did not finish needs at least what it reached (>, ≥).")
    notes += [note for note in (fullest_note(records), *loop_notes(records), *parallel_notes(records)) if note]
    unknown = sum(record.reading is not None and not record.reading.workspace_known for record in records)
    if unknown:
        notes.append(f"Workspace unknown in {unknown:,} rows: cuDNN did not report it; the true peak may be higher.")
    notes += [note[0].upper() + note[1:] for note in value_notes(records)]
    if blank_percents(records):
        least = LEAST_ESTIMATE_BYTES // MIB
        notes.append(f"No percentage for an estimate below {least} MiB: one library workspace would exceed it.")
    return tuple(notes)
