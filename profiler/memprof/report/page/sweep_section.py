"""The sections of batch sizes: how far the config goes, and what a sweep found at each size."""

from __future__ import annotations

from collections.abc import Sequence

from memprof.records import MaxBatch, RunRecord, Source, Status
from memprof.report.labels import ANALYTIC_ESTIMATE, part_name
from memprof.report.page.chart_data import batch_chart, tries_chart
from memprof.report.page.elements import (
    Bar,
    Bars,
    Cell,
    Heading,
    Section,
    Segment,
    Table,
    bytes_cell,
    count_cell,
    percent_cell,
    text_cell,
)
from memprof.report.plots.build import batch_picture
from memprof.report.terminal.columns import reason_of
from memprof.report.terminal.max_batch import does_not_fit, stopped_by
from memprof.results import row
from memprof.units import format_bytes

CATEGORIES = ("parameters", "buffers", "gradients", "optimizer_state", "input", "activations")


def max_batch_section(answers: Sequence[MaxBatch]) -> Section:
    """Return how far the config goes: on one GPU with every try, on several as a ranking."""
    if len(answers) > 1:
        several = (gpus_bars(answers), gpus_table(answers))
        return Section(id="reach", title="How far it goes, GPU by GPU", lead=(), parts=several)
    answer = answers[0]
    lead = [f"What keeps the next batch size from training: {stopped_by(answer)}."]
    if answer.fit is not None:
        fit = answer.fit
        within = f"every try lies within {format_bytes(fit.residual_bytes)} of that line"
        sums = f"{format_bytes(fit.fixed_bytes)} and {format_bytes(fit.bytes_per_sample)} a sample"
        lead.append(f"Peak allocated is {sums}: {within}.")
    if answer.batch_size_at_80_percent_memory is not None:
        largest = f"{answer.batch_size_at_80_percent_memory:,}"
        lead.append(f"The largest batch whose reserved memory and CUDA context stay below 80 % of memory is {largest}.")
    parts = (tries_chart(answer), tries_table(answer))
    return Section(id="reach", title="How far it goes", lead=tuple(lead), parts=parts)


def tries_table(answer: MaxBatch) -> Table:
    """Return every try, in the order in which they ran."""
    figures = ("peak allocated", "peak reserved", "device")
    headings = (
        Heading(text="batch"),
        Heading(text="status", numeric=False),
        *(Heading(text=name, group=answer.source.value) for name in figures),
        Heading(text="seconds"),
        Heading(text="why it stopped", numeric=False),
    )
    rows = tuple(
        (
            count_cell(done.batch_size),
            status_cell(done.status),
            bytes_cell(done.peak_allocated_bytes),
            bytes_cell(done.peak_reserved_bytes),
            bytes_cell(done.device_bytes),
            Cell(text=f"{done.seconds:.1f}", sort=done.seconds),
            text_cell(" ".join((done.error or "").split())),
        )
        for done in (*answer.trials, *answer.more_trials)
    )
    note = "Each try ran in a process of its own; device is what was reserved and the CUDA context."
    return Table(caption="Every try", headings=headings, rows=rows, notes=(note,))


def gpus_bars(answers: Sequence[MaxBatch]) -> Bars:
    """Return what a batch fills of each GPU: what is fixed, and what its samples take at the largest batch."""
    bars = []
    for answer in _ranked(answers):
        fit, largest = answer.fit, answer.largest_batch_size
        pieces = () if fit is None else (("fixed", fit.fixed_bytes), ("samples", fit.bytes_per_sample * largest))
        segments = tuple(Segment(category=name, name=name, bytes=size) for name, size in pieces if size > 0)
        note = f"largest batch {largest:,}, safe {answer.safe_batch_size:,}" if largest else does_not_fit(answer)
        bars.append(Bar(name=answer.gpu, segments=segments, total_bytes=answer.gpu_total_bytes, note=note))
    return Bars(
        caption=f"Peak allocated at the largest batch, by the fitted line ({answers[0].source.value})",
        bars=tuple(bars),
        notes=("The figure beside a bar is the GPU's memory.",),
    )


def gpus_table(answers: Sequence[MaxBatch]) -> Table:
    """Return the GPUs, the one with the largest batch first."""
    source = answers[0].source.value
    headings = (
        Heading(text="GPU", numeric=False),
        Heading(text="memory"),
        *(Heading(text=name, group=f"{source} batch") for name in ("largest", "safe", "at 80 % of memory")),
        *(Heading(text=name, group=source) for name in ("fixed", "a sample", "left free")),
        Heading(text="stopped by", numeric=False),
    )
    rows = tuple(
        (
            text_cell(answer.gpu),
            bytes_cell(answer.gpu_total_bytes),
            count_cell(answer.largest_batch_size),
            count_cell(answer.safe_batch_size),
            count_cell(answer.batch_size_at_80_percent_memory),
            bytes_cell(answer.fit.fixed_bytes if answer.fit else None),
            bytes_cell(answer.fit.bytes_per_sample if answer.fit else None),
            bytes_cell(answer.free_bytes),
            text_cell(stopped_by(answer)),
        )
        for answer in _ranked(answers)
    )
    return Table(caption="GPU by GPU", headings=headings, rows=rows)


def _ranked(answers: Sequence[MaxBatch]) -> list[MaxBatch]:
    return sorted(answers, key=lambda answer: (-answer.largest_batch_size, answer.gpu_total_bytes or 0))


def sweep_section(records: Sequence[RunRecord]) -> Section:
    """Return what a sweep found: a line for each optimizer, the figures of each row, the textbook's sum."""
    analytic = records[0].source is Source.ANALYTIC
    parts = (
        batch_chart(batch_picture(records)),
        *(() if analytic else (readings_table(records),)),
        breakdown_table(records),
    )
    lead = () if analytic else (ANALYTIC_ESTIMATE,)
    return Section(id="batches", title="Memory against batch size", lead=lead, parts=(*parts, breakdown_bars(records)))


def _total(record: RunRecord) -> int | None:
    return record.breakdown.total_bytes if record.breakdown else None


def readings_table(records: Sequence[RunRecord]) -> Table:
    """Return what the counters said, beside the textbook's total."""
    source = records[0].source.value
    headings = (
        *_names(),
        Heading(text="total", group="analytic"),
        *(Heading(text=name, group=source) for name in ("peak", "reserved", "NVML")),
        *(Heading(text=name, group="peak less total") for name in ("bytes", "percent")),
        Heading(text="status", numeric=False),
    )
    rows = tuple(
        (
            *_name_cells(record),
            bytes_cell(_total(record)),
            *(bytes_cell(_figure(record, name)) for name in ("peak_allocated_bytes", "peak_reserved_bytes")),
            bytes_cell(_figure(record, "nvml_used_bytes")),
            bytes_cell(record.difference_bytes, signed=True),
            percent_cell(record.difference_percent),
            status_cell(record.status),
        )
        for record in records
    )
    return Table(caption=f"What was {source}", headings=headings, rows=rows, notes=_reasons(records))


def breakdown_table(records: Sequence[RunRecord]) -> Table:
    """Return the textbook's categories and their sum."""
    figures = tuple(f"{name}_bytes" for name in CATEGORIES)
    headings = (
        *_names(),
        *(Heading(text=part_name(name), group="analytic") for name in (*CATEGORIES, "total")),
    )
    rows = tuple(
        (
            *_name_cells(record),
            *(bytes_cell(_figure(record, name)) for name in figures),
            bytes_cell(_total(record), style="strong"),
        )
        for record in records
    )
    brief = records[0].source is Source.ANALYTIC  # else the totals stand beside the readings
    return Table(caption="What shapes and dtypes say", headings=headings, rows=rows, brief=brief)


def breakdown_bars(records: Sequence[RunRecord]) -> Bars:
    """Return the textbook's categories of each optimizer at its largest batch size, with a line at the peak."""
    last = {record.optimizer: record for record in sorted(records, key=lambda record: record.batch_size)}
    bars = tuple(
        Bar(
            name=record.optimizer or record.mode,
            segments=part_segments(record),
            total_bytes=_total(record),
            note=f"batch {record.batch_size:,}",
            mark_bytes=_figure(record, "peak_allocated_bytes"),
        )
        for record in last.values()
    )
    source = records[0].source
    mark_name = "" if source is Source.ANALYTIC else f"{source.value} peak"
    caption = "The analytic total by category, at the largest batch size"
    return Bars(caption=caption, bars=bars, mark_name=mark_name)


def part_segments(record: RunRecord) -> tuple[Segment, ...]:
    """Return the categories of the textbook that hold anything."""
    sizes = [(name, _figure(record, f"{name}_bytes")) for name in CATEGORIES]
    return tuple(Segment(category=name, name=part_name(name), bytes=size) for name, size in sizes if size)


def _names() -> tuple[Heading, ...]:
    return Heading(text="optimizer", numeric=False), Heading(text="batch")


def _name_cells(record: RunRecord) -> tuple[Cell, ...]:
    return text_cell(record.optimizer or record.mode), count_cell(record.batch_size)


def _figure(record: RunRecord, name: str) -> int | None:
    value = row(record)[name]
    return value if isinstance(value, int) else None


def status_cell(status: Status) -> Cell:
    """Return how a run ended."""
    return text_cell(status.value, style="" if status is Status.OK else "bad")


def _reasons(records: Sequence[RunRecord]) -> tuple[str, ...]:
    """Why rows failed, each reason once with its rows; and what the counters may not show."""
    rows_of: dict[str, list[str]] = {}
    for record in records:
        if reason := reason_of(record):
            rows_of.setdefault(reason, []).append(f"{record.optimizer or record.mode} {record.batch_size}")
    notes = [f"{', '.join(rows)}: {reason}" for reason, rows in rows_of.items()]
    unknown = sum(record.reading is not None and not record.reading.workspace_known for record in records)
    if unknown:
        notes.append(f"Workspace unknown in {unknown} rows: cuDNN gave no size, so the true peak may be higher.")
    return tuple(notes)
