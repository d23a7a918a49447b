"""The table of `memprof sweep`: analytic figures next to measured or emulated ones, never under one heading."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from memprof.records import RunRecord, Source, Status
from memprof.report.assumed import ASSUMED_CONTEXT, assumes_context
from memprof.report.figures import LEAST_ESTIMATE_BYTES
from memprof.report.labels import ANALYTIC_ESTIMATE
from memprof.report.loop_notes import loop_notes
from memprof.report.parallel_notes import parallel_notes
from memprof.report.ranks import fullest_note, rank_text, several_ranks, with_most
from memprof.report.terminal import columns
from memprof.report.terminal.header import source_lines, title_lines
from memprof.report.terminal.layout import Column, Grid, lay_out, note_width
from memprof.units import MIB

SIDE_BY_SIDE_GAP = 2  # with fewer blanks than this between columns, the breakdown gets a table of its own
_TINY = f"percent: blank if the estimate is below {LEAST_ESTIMATE_BYTES // MIB} MiB."


def sweep_table(records: Sequence[RunRecord], width: int = 80) -> RenderableType:
    """Return a sweep's comparison for a terminal of `width` cells: title, figures, reasons and footer.

    Every category, estimate, peak, difference, reserved and NVML figure is there at 80 cells too: what does
    not fit next to the peaks is in a second table below. Wider terminals add the peak of each phase.
    """
    if not records:
        return Text("no rows")
    ordered = sorted(records, key=_place_among(records))
    tables = [_alike_table(list(alike), width) for _, alike in groupby(ordered, key=_circumstances)]
    return Group(*(part for table in tables for part in (table, Text()))) if len(tables) > 1 else tables[0]


def breakdown_table(records: Sequence[RunRecord], width: int = 80) -> RenderableType:
    """Return the analytic categories of each record and their sum; the figures come from shapes alone."""
    return Group(*lay_out(_grid(records, columns.categories(records)), width))


def _circumstances(record: RunRecord) -> tuple[str | None, ...]:
    return record.model, record.environment.gpu, record.source, record.precision, record.mode, record.mesh


def _place_among(records: Sequence[RunRecord]) -> Callable[[RunRecord], tuple[int, int, int]]:
    """The order of rows: as the kinds of run and the optimizers first appear, then by batch size."""
    kinds = list(dict.fromkeys(_circumstances(record) for record in records))
    optimizers = list(dict.fromkeys(record.optimizer for record in records))
    return lambda record: (
        kinds.index(_circumstances(record)),
        optimizers.index(record.optimizer),
        record.batch_size,
    )


def _alike_table(records: Sequence[RunRecord], width: int) -> RenderableType:
    shown = with_most(records)
    main, below = _choose(shown, width)
    parts: list[RenderableType] = [*title_lines(records), Text(), *lay_out(main, width)]
    if below is not None:
        parts += [Text(), *lay_out(below, width)]
    return Group(*parts, *_full_reasons(main, shown, width), Text(), *_footer(records))


def _choose(records: Sequence[RunRecord], width: int) -> tuple[Grid, Grid | None]:
    """The richest main grid that fits, and the breakdown if it must be below."""
    categories, status, notes = columns.categories(records), columns.status(records), columns.notes(records)
    if all(record.mesh is not None for record in records):  # one rank of many has no estimate
        ranks = [Column(heading="rank", cells=tuple(map(rank_text, records)))] if several_ranks(records) else []
        return _grid(records, [*ranks, *columns.readings(records, phases=False), status], notes), None
    if records[0].source is Source.ANALYTIC:
        ended = [] if all(record.status is Status.OK for record in records) else [status]
        return _grid(records, [*categories, *ended], notes), None
    below = _grid(records, categories)
    ways = [(side_by_side, phases) for side_by_side in (True, False) for phases in (True, False)]
    for side_by_side, phases in ways:
        analytic = categories if side_by_side else categories[-1:]
        readings = columns.readings(records, phases=phases)
        chosen = [*analytic, *readings, *columns.differences(records), status]
        grid = _grid(records, chosen, notes)
        if grid.width(SIDE_BY_SIDE_GAP) <= width:
            break
    return grid, None if side_by_side else below


def _grid(records: Sequence[RunRecord], shown: Sequence[Column], notes: Mapping[int, str] | None = None) -> Grid:
    stub = Column(heading="batch", cells=tuple(f"{record.batch_size:,}" for record in records))
    sections = tuple(record.optimizer or record.mode for record in records)
    return Grid(stub=stub, columns=tuple(shown), sections=sections, notes=notes or {})


def _full_reasons(grid: Grid, records: Sequence[RunRecord], width: int) -> list[RenderableType]:
    """The reasons that were cut short below their rows, in full, each once with the rows that it is for."""
    rows_of: dict[str, list[str]] = {}
    for record in records:
        reason = columns.reason_of(record)
        if cell_len(reason) > note_width(grid, width):
            rows_of.setdefault(reason, []).append(f"{record.optimizer or record.mode} {record.batch_size:,}")
    parts: list[RenderableType] = []
    for reason, rows in rows_of.items():
        parts += [Text(), Text(", ".join(rows), "bold"), Padding(Text(reason), (0, 0, 0, 2), expand=False)]
    return parts


def _footer(records: Sequence[RunRecord]) -> list[Text]:
    retried = sum(record.reading is not None and record.reading.allocation_retries > 0 for record in records)
    estimated = any(record.breakdown is not None for record in records) or records[0].mesh is None
    footer = [Text(ANALYTIC_ESTIMATE, "dim")] if estimated and records[0].source is not Source.ANALYTIC else []
    if columns.blank_percents(records):
        footer.append(Text(_TINY, "dim"))
    footer += [Text(note) for note in (fullest_note(records), *loop_notes(records), *parallel_notes(records)) if note]
    footer += source_lines(records)
    if any(assumes_context(record.environment) and record.reading is not None for record in records):
        footer.append(Text(ASSUMED_CONTEXT, "dim"))
    if retried:
        footer.append(
            Text(
                f"{retried:,} of {len(records):,} rows hit allocator retries: PyTorch freed its cache and tried again."
            )
        )
    return footer
