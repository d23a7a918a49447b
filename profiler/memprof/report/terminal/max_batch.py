"""The largest batch for a terminal: one panel for one GPU, one ranked table for several."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from memprof.records import Accumulation, MaxBatch, MemoryFit, Status, StopReason
from memprof.report.assumed import answers_star, context_notes, context_star, starred_bytes
from memprof.report.figures import bound_text
from memprof.report.labels import STOP_REASONS, confirming_run, gpu_label, source_note
from memprof.report.parallel_notes import unknown_nccl
from memprof.report.terminal.layout import GAPS, Column, Grid, lay_out, shorten
from memprof.report.value_notes import max_batch_value_note
from memprof.units import UNKNOWN, format_bytes

_WIDEST = 100
_AT_80 = "takes at most 80 % of GPU memory"


def max_batch_panel(answer: MaxBatch, width: int = 80) -> RenderableType:
    """Return the answer for one GPU: the largest batch and how it was verified, the safe one, and every trial."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in _lines(answer):
        table.add_row(name, text)
    panel = Panel(Group(_title(answer), table), padding=(0, 1), width=min(width, _WIDEST))
    notes = (source_note(answer.source), *context_notes(answers_star([answer])))
    return Group(panel, Text(), *lay_out(_trials(answer, width), width), Text(), *(Text(note, "dim") for note in notes))


def max_batch_table(answers: Sequence[MaxBatch], width: int = 80) -> RenderableType:
    """Return the answers for several GPUs, the one with the largest batch first.

    If not all columns fit into `width` cells, the number of trials is left out first.
    """
    ranked = sorted(answers, key=lambda answer: (-answer.largest_batch_size, answer.gpu_total_bytes or 0))
    first = ranked[0]
    shown = _ranked_columns(ranked)
    notes = {row: "; ".join(noted) for row, answer in enumerate(ranked) if (noted := _notes(answer))}
    grids = [
        Grid(
            stub=Column(heading="GPU", cells=tuple(answer.gpu for answer in ranked), left=True),
            columns=tuple(some),
            sections=tuple(_section(first) for _ in ranked),
            notes=notes,
        )
        for some in (shown, shown[:-1])
    ]
    grid = next((grid for grid in grids if grid.width(GAPS[-1]) <= width), grids[0])
    return Group(*lay_out(grid, width), Text(), *(Text(line, "dim") for line in _meanings(ranked)))


def does_not_fit(answer: MaxBatch) -> str:
    """Return one line: how much the smallest batch needs, and how much memory there is."""
    smallest, cap = answer.multiple_of, answer.memory_limit_bytes
    needed, taken = answer.smallest_footprint_bytes, answer.trials[-1].device_bytes if answer.trials else None
    if answer.stopped_by is StopReason.TIME:
        return f"{answer.model} on {answer.gpu}: the time limit was reached before a batch size was found that trains"
    needs = format_bytes(needed) if needed else f"more than {format_bytes(taken)}"
    has = f"the memory limit is {format_bytes(cap)}" if cap else f"the GPU has {format_bytes(answer.gpu_total_bytes)}"
    return (
        f"{answer.model} does not fit on {answer.gpu}: batch {smallest:,} needs {needs} of GPU memory "
        f"({answer.source.value}, CUDA context included), and {has}"
    )


def proof(answer: MaxBatch) -> str:
    """Return how the largest batch was verified."""
    largest = answer.largest_batch_size
    if answer.verified:
        return f"{largest:,} trains, {largest + answer.multiple_of:,} does not"
    return f"{largest:,} trains; nothing larger was tried" if answer.stopped_by is StopReason.MAX else "not verified"


def stopped_by(answer: MaxBatch) -> str:
    """Return what keeps the next batch size from training, and the error if that was one."""
    return STOP_REASONS[answer.stopped_by] + _error_text(answer)


def fit_formula(fit: MemoryFit) -> str:
    """Return the fitted line as a formula: ``300.00 MiB + 80.00 MiB × batch (±9.00 MiB)``."""
    fixed, sample = format_bytes(fit.fixed_bytes), format_bytes(fit.bytes_per_sample)
    return f"{fixed} + {sample} × batch (±{format_bytes(fit.residual_bytes)})"


def _ranked_columns(ranked: Sequence[MaxBatch]) -> list[Column]:
    cells = {
        "memory": [format_bytes(answer.gpu_total_bytes) for answer in ranked],
        "largest": [_or_unknown(answer.largest_batch_size) for answer in ranked],
        "safe": [_or_unknown(answer.safe_batch_size or 0) for answer in ranked],
        "at 80 %": [_at_80(answer) for answer in ranked],
        **_target_cells(ranked),
        "fixed": [format_bytes(answer.fit.fixed_bytes if answer.fit else None) for answer in ranked],
        "per sample": [format_bytes(answer.fit.bytes_per_sample if answer.fit else None) for answer in ranked],
        "headroom": [_headroom(answer) for answer in ranked],
        "trials": [f"{len(answer.trials) + len(answer.more_trials):,}" for answer in ranked],
    }
    return [Column(heading=heading, cells=tuple(column)) for heading, column in cells.items()]


def _target_cells(ranked: Sequence[MaxBatch]) -> dict[str, list[str]]:
    """The micro-batch and the accumulation steps that give the target batch, if one was asked for."""
    sizes = {answer.target_batch.target_batch_size for answer in ranked if answer.target_batch}
    ways = [answer.target_batch for answer in ranked]
    return {
        f"for {size:,}": [f"{way.micro_batch_size:,} × {way.steps:,}" if way else UNKNOWN for way in ways]
        for size in sizes
    }


def _meanings(ranked: Sequence[MaxBatch]) -> list[str]:
    verified = f"; verified with {confirming_run(ranked[0])}" if any(a.confirmed is Status.OK for a in ranked) else ""
    lines = [
        f"safe: 80 % of the largest, rounded down{verified}.",
        f"at 80 %: batch that {_AT_80}, CUDA context included.",
    ]
    if (target := next((answer.target_batch for answer in ranked if answer.target_batch), None)) is not None:
        lines.append(f"for {target.target_batch_size:,}: micro-batch × accumulation steps, verified by a run.")
    if note := max_batch_value_note(ranked):
        lines.append(f"depends on values: {note}.")
    return [*lines, source_note(ranked[0].source), *context_notes(answers_star(ranked))]


def _title(answer: MaxBatch) -> Text:
    parts = (answer.model, answer.optimizer, gpu_label(answer.gpu, answer.source), answer.source.value)
    return Text(" · ".join(part for part in parts if part), "bold")


def _lines(answer: MaxBatch) -> list[tuple[str, str | Text]]:
    memory = format_bytes(answer.gpu_total_bytes)
    if answer.memory_limit_bytes is not None:
        memory = f"{format_bytes(answer.memory_limit_bytes)} of {memory} (set_per_process_memory_fraction)"
    lines: list[tuple[str, str | Text]] = [
        ("largest batch", Text.assemble((f"{answer.largest_batch_size:,}", "bold"), f"  ({proof(answer)})")),
        ("safe batch", f"{_or_unknown(answer.safe_batch_size or 0)}  ({'; '.join(_safety(answer))})"),
        ("stopped by", stopped_by(answer)),
        ("at 80 % of memory", f"{_at_80(answer)}  ({_AT_80})"),
        ("memory", f"{memory}; headroom {_headroom(answer)} at the largest batch"),
    ]
    if answer.parallel is not None:
        lines.append(("emulated", f"{answer.parallel}; the other ranks are absent"))
    if answer.communicators and answer.nccl_bytes is None:
        lines.append(("not counted", unknown_nccl(answer.communicators)))
    if note := max_batch_value_note([answer]):
        lines.append(("depends on values", note))
    if answer.fit is not None:
        lines.append(("allocated", f"≈ {fit_formula(answer.fit)}"))
    if answer.target_batch is not None:
        lines.append(("target batch", _accumulated(answer.target_batch)))
    seconds = sum(done.seconds for done in answer.trials)
    more = f", {len(answer.more_trials)} more for the batch at 80 %" if answer.more_trials else ""
    return [*lines, ("trials", f"{len(answer.trials)} in {seconds:.1f} s{more}")]


def _error_text(answer: MaxBatch) -> str:
    if answer.stopped_by in (StopReason.MEMORY, StopReason.MEMORY_LIMIT, StopReason.MAX, StopReason.TIME):
        return ""
    failed = min((done for done in answer.trials if not done.trains), key=lambda done: done.batch_size, default=None)
    return f": {failed.error}" if failed else ""


def _safety(answer: MaxBatch) -> list[str]:
    if not answer.verified:
        return ["the limit was not found"]
    if answer.safe_batch_size is None:
        return [f"80 % of {answer.largest_batch_size:,} is less than {answer.multiple_of:,}"]
    return ["80 %", *([_confirmation(answer, answer.confirmed)] if answer.confirmed else [])]


def _confirmation(answer: MaxBatch, confirmed: Status) -> str:
    ran = confirming_run(answer)
    return f"verified with {ran}" if confirmed is Status.OK else f"{ran} ended with {confirmed.value}"


def _headroom(answer: MaxBatch) -> str:
    """What is free next to the CUDA context, with a star if the size of that is assumed."""
    return starred_bytes(answer.free_bytes, context_star(answer.gpu, answer.source))


def _at_80(answer: MaxBatch) -> str:
    size = answer.batch_size_at_80_percent_memory
    return UNKNOWN if size is None else f"{size:,}"


def _accumulated(accumulation: Accumulation) -> str:
    way = f"micro-batch {accumulation.micro_batch_size:,} × {accumulation.steps:,} accumulation steps"
    return f"{accumulation.target_batch_size:,} = {way}: {accumulation.status.value}"


def _trials(answer: MaxBatch, width: int) -> Grid:
    trials, more = answer.trials, answer.more_trials
    everything = (*trials, *more)
    shown = {
        "status": [done.status.value for done in everything],
        "allocated": [bound_text(done.peak_allocated_bytes, done.status) for done in everything],
        "reserved": [bound_text(done.peak_reserved_bytes, done.status) for done in everything],
        f"device{answers_star([answer])}": [bound_text(done.device_bytes, done.status) for done in everything],
        "seconds": [f"{done.seconds:.1f}" for done in everything],
    }
    sections = ["trials for the largest batch"] * len(trials) + ["trials for the batch at 80 % of memory"] * len(more)
    return Grid(
        stub=Column(heading="batch", cells=tuple(f"{done.batch_size:,}" for done in everything)),
        columns=tuple(Column(heading=heading, cells=tuple(column)) for heading, column in shown.items()),
        sections=tuple(sections),
        notes={row: shorten(done.error, width) for row, done in enumerate(everything) if done.error},
    )


def _section(answer: MaxBatch) -> str:
    cap = answer.memory_limit_bytes
    limit = f" · limited to {format_bytes(cap)} (set_per_process_memory_fraction)" if cap is not None else ""
    return " · ".join(part for part in (answer.model, answer.optimizer, answer.source.value) if part) + limit


def _notes(answer: MaxBatch) -> list[str]:
    """The notes below the row of one GPU."""
    if not answer.largest_batch_size:
        return [does_not_fit(answer)]
    notes = []
    if answer.stopped_by is StopReason.MAX:
        notes.append("nothing larger was tried (--max)")
    elif answer.stopped_by not in (StopReason.MEMORY, StopReason.MEMORY_LIMIT):
        notes.append(f"stopped by {stopped_by(answer)}")
    if answer.confirmed not in (None, Status.OK):
        notes.append(f"safe batch: {_confirmation(answer, answer.confirmed)}")
    if answer.target_batch is not None and answer.target_batch.status is not Status.OK:
        notes.append(f"target batch {_accumulated(answer.target_batch)}")
    return notes


def _or_unknown(number: int) -> str:
    return f"{number:,}" if number else UNKNOWN
