"""The table of `memprof compare`: the variants of one config against their base."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from memprof.records import RunRecord, Source, Status
from memprof.report.figures import COMPARED_CATEGORIES, LARGEST_BATCH, RESERVED, SECONDS, main_figure
from memprof.report.loop_notes import loop_notes
from memprof.report.parallel_notes import parallel_notes
from memprof.report.terminal import columns
from memprof.report.terminal.diff import change_columns
from memprof.report.terminal.header import source_lines, title_lines
from memprof.report.terminal.layout import GAPS, Column, Grid, distinct, lay_out, shorten
from memprof.results.comparison import OptimizerState, VariantResult, against_base
from memprof.units import UNKNOWN

_LONG = 13  # cells; up to that, the headings of the optimizers' states fit into 80
_BLOCK_BYTES = 512  # kMinBlockSize of PyTorch's c10/cuda/CUDACachingAllocator.cpp


def compare_table(
    answers: Sequence[VariantResult], states: Sequence[OptimizerState], width: int = 80
) -> RenderableType:
    """Return the variants of one config against the first, the base: breakdown, peak, reserved and change.

    If not all columns fit into `width` cells, the analytic ones are in a second table below.
    """
    records = [answer.record for answer in answers]
    parts: list[RenderableType] = [*title_lines(records), Text()]
    main, below = _read_columns(answers), _analytic_columns(records)
    whole = _grid(answers, [*below, *main], width)
    if all(record.mesh is not None for record in records):  # one rank of many has no estimate
        parts += lay_out(_grid(answers, main, width), width)
    elif whole.width(GAPS[-1]) <= width:
        parts += lay_out(whole, width)
    else:
        parts += [*lay_out(_grid(answers, main, width), width), Text()]
        parts += lay_out(_grid(answers, below, width, notes=False), width)
    if states:
        parts += [Text(), *lay_out(_states_grid(states, records[0]), width)]
    notes = [Text(note) for note in (*loop_notes(records), *parallel_notes(records))]
    return Group(*parts, Text(), *notes, *source_lines(records))


def _grid(answers: Sequence[VariantResult], shown: Sequence[Column], width: int, notes: bool = True) -> Grid:
    most = max(12, width // 3)
    stub = Column(heading="variant", cells=tuple(distinct([answer.name for answer in answers], most)), left=True)
    reasons = columns.notes([answer.record for answer in answers]) if notes else {}
    return Grid(
        stub=stub,
        columns=tuple(shown),
        sections=tuple(shorten(answer.group, width) for answer in answers),
        notes=reasons,
    )


def _analytic_columns(records: Sequence[RunRecord]) -> list[Column]:
    return [columns.figure_column(records, figure, "analytic") for figure in COMPARED_CATEGORIES]


def _read_columns(answers: Sequence[VariantResult]) -> list[Column]:
    records = [answer.record for answer in answers]
    source = records[0].source
    figure = main_figure(source)
    found = [columns.finished_column(records, figure, source.value, style="bold")]
    found += [] if source is Source.ANALYTIC else [columns.finished_column(records, RESERVED, source.value)]
    changes = [pair.change(figure.key) for pair in against_base(answers)]
    found += change_columns(changes, f"{figure.heading} change vs base", blank=1)
    seconds = [record.reading.seconds_per_step if record.reading else None for record in records]
    if any(second is not None for second in seconds):
        cells = tuple(UNKNOWN if second is None else f"{second:.4f}" for second in seconds)
        found.append(Column(heading=SECONDS.heading, group=source.value, cells=cells))
    largest = [record.largest_batch_size for record in records]
    if any(size is not None for size in largest):
        cells = tuple(UNKNOWN if size is None else f"{size:,}" for size in largest)
        found.append(Column(heading=LARGEST_BATCH.short_heading, group="largest", cells=cells))
    if any(record.status is not Status.OK for record in records):
        found.append(columns.status(records))
    return found


def _states_grid(states: Sequence[OptimizerState], base: RunRecord) -> Grid:
    """Each optimizer's state in exact bytes, its factor next to the expected one, and what the counters read."""
    first = states[0]
    differences = tuple(f"{state.bytes - first.bytes:+,}" for state in states[1:])
    analytic = {
        "bytes": tuple(f"{state.bytes:,}" for state in states),
        f"vs {first.name}" if len(first.name) < _LONG else "vs first": ("", *differences),
        "× parameters": tuple(f"{state.factor:.6g}" for state in states),
        "expected": tuple(UNKNOWN if state.expected_factor is None else f"{state.expected_factor}" for state in states),
    }
    shown = [Column(heading=heading, group="analytic", cells=cells) for heading, cells in analytic.items()]
    if any(state.observed_bytes is not None for state in states):
        read = tuple(UNKNOWN if state.observed_bytes is None else f"{state.observed_bytes:,}" for state in states)
        shown.append(Column(heading=f"in {_BLOCK_BYTES}-byte blocks", group=base.source.value, cells=read))
    stub = Column(heading="", cells=tuple(state.name for state in states), left=True)
    return Grid(stub=stub, columns=tuple(shown), sections=("optimizer state",) * len(states))
