"""The section of the largest batch: on one GPU with every trial, on several GPUs as a ranking."""

from __future__ import annotations

from collections.abc import Sequence

from memprof.records import MaxBatch, Trial
from memprof.report.assumed import answers_star, context_notes, context_star
from memprof.report.labels import STOP_REASONS
from memprof.report.page.chart_data import trials_chart
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
    status_cell,
    text_cell,
)
from memprof.report.parallel_notes import unknown_nccl
from memprof.report.terminal.max_batch import does_not_fit, fit_formula, stopped_by
from memprof.report.value_notes import max_batch_value_note
from memprof.units import format_bytes

_ID = "max-batch"


def max_batch_section(answers: Sequence[MaxBatch]) -> Section:
    """Return the section."""
    if len(answers) > 1:
        parts = (gpus_bars(answers), gpus_table(answers))
        return Section(id=_ID, title="Largest batch per GPU", lead=(), parts=parts)
    answer = answers[0]
    lead = [f"Stopped by {stopped_by(answer)}."]
    if answer.fit is not None:
        lead.append(f"Peak allocated ≈ {fit_formula(answer.fit)}.")
    if answer.parallel is not None:
        lead.append(f"Emulated: {answer.parallel}; the other ranks are absent.")
    if answer.communicators and answer.nccl_bytes is None:
        lead.append(unknown_nccl(answer.communicators))
    if note := max_batch_value_note([answer]):
        lead.append(f"Depends on values: {note}.")
    if answer.batch_size_at_80_percent_memory is not None:
        most = f"{answer.batch_size_at_80_percent_memory:,}"
        lead.append(f"Batch {most} takes at most 80 % of GPU memory, CUDA context included.")
    return Section(id=_ID, title="Largest batch", lead=tuple(lead), parts=(trials_chart(answer), trials_table(answer)))


def trials_table(answer: MaxBatch) -> Table:
    """Return every trial, in the order in which they ran."""
    trials, star = (*answer.trials, *answer.more_trials), answers_star([answer])
    headings = (
        Heading(text="batch"),
        Heading(text="status", numeric=False),
        *(Heading(text=name, group=answer.source.value) for name in ("allocated", "reserved", f"device{star}")),
        Heading(text="seconds"),
        Heading(text="error", numeric=False, below=True),
    )
    notes = ["Each trial ran in its own process. Device: reserved memory and the CUDA context."]
    if not all(done.trains for done in trials):
        notes.append("A trial that did not train needs at least what it reached (>, ≥).")
    rows = tuple(_trial_row(done) for done in trials)
    return Table(caption="Trials", headings=headings, rows=rows, notes=(" ".join(notes), *context_notes(star)))


def _trial_row(done: Trial) -> tuple[Cell, ...]:
    peaks = (done.peak_allocated_bytes, done.peak_reserved_bytes, done.device_bytes)
    return (
        count_cell(done.batch_size),
        status_cell(done.status),
        *(bound_cell(size, done.status) for size in peaks),
        Cell(text=f"{done.seconds:,.1f}", sort=done.seconds),
        text_cell(" ".join((done.error or "").split())),
    )


def gpus_bars(answers: Sequence[MaxBatch]) -> Bars:
    """Return a bar for each GPU, as long as its largest batch, with the safe batch as a segment of it."""
    return Bars(
        caption=f"Largest batch ({answers[0].source.value})",
        bars=tuple(_gpu_bar(answer) for answer in ranked(answers)),
        unit="samples",
        notes=("Safe: 80 % of the largest batch, if the limit was found.",),
    )


def _gpu_bar(answer: MaxBatch) -> Bar:
    largest, safe = answer.largest_batch_size, answer.safe_batch_size or 0
    sizes = (("safe-batch", "safe", safe), ("above-safe", "up to the largest", largest - safe))
    segments = tuple(Segment(category=category, name=name, size=size) for category, name, size in sizes if size)
    memory = f"{format_bytes(answer.gpu_total_bytes)} of memory"
    note = memory if answer.verified else f"{memory}; larger batches may train"
    return Bar(
        name=answer.gpu, segments=segments, total=largest or None, note=note if largest else does_not_fit(answer)
    )


def gpus_table(answers: Sequence[MaxBatch]) -> Table:
    """Return the GPUs, the one with the largest batch first."""
    source = answers[0].source.value
    headings = (
        Heading(text="GPU", numeric=False),
        Heading(text="memory"),
        *(Heading(text=name, group=f"{source} batch") for name in ("largest", "safe", "under 80 % of memory")),
        *(Heading(text=name, group=source) for name in ("fixed", "per sample", "headroom")),
        Heading(text="stopped by", numeric=False),
        Heading(text="error", numeric=False, below=True),
    )
    rows = tuple(_gpu_row(answer) for answer in ranked(answers))
    notes = ("Headroom: free memory at the largest batch.", *context_notes(answers_star(answers)))
    return Table(caption="GPUs", headings=headings, rows=rows, notes=notes)


def _gpu_row(answer: MaxBatch) -> tuple[Cell, ...]:
    reason = STOP_REASONS[answer.stopped_by]
    return (
        text_cell(answer.gpu),
        bytes_cell(answer.gpu_total_bytes),
        count_cell(answer.largest_batch_size or None),
        count_cell(answer.safe_batch_size),
        count_cell(answer.batch_size_at_80_percent_memory),
        bytes_cell(answer.fit.fixed_bytes if answer.fit else None),
        bytes_cell(answer.fit.bytes_per_sample if answer.fit else None),
        bytes_cell(answer.free_bytes, star=context_star(answer.gpu, answer.source)),
        text_cell(reason),
        text_cell(stopped_by(answer).removeprefix(reason).removeprefix(": ")),
    )


def ranked(answers: Sequence[MaxBatch]) -> list[MaxBatch]:
    """Return the answers, the largest batch first; of equal ones, the smallest GPU first."""
    return sorted(answers, key=lambda answer: (-answer.largest_batch_size, answer.gpu_total_bytes or 0))
