"""Tables for the terminal: analytic and measured or emulated figures, never under one heading."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from memprof.records import RunRecord, Source, Status
from memprof.report.labels import ANALYTIC_ESTIMATE, gpu_label, source_note
from memprof.report.terminal import columns
from memprof.report.terminal.layout import Column, Grid, lay_out, note_width
from memprof.units import UNKNOWN, format_bytes

SIDE_BY_SIDE_GAP = 2  # with less air than this, the breakdown stands below rather than beside


def sweep_table(records: Sequence[RunRecord], width: int = 80) -> RenderableType:
    """Return a sweep's comparison for a terminal of `width` cells: title, figures, reasons and footer.

    Every category, total, peak, difference, reserved and NVML figure is there at 80 cells too: what does
    not fit beside the peaks stands in a second table below. Wider terminals add the peak of each phase.
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
    return record.model, record.environment.gpu, record.source, record.precision, record.mode


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
    main, below = _choose(records, width)
    parts: list[RenderableType] = [*record_title(records[0]), Text(), *lay_out(main, width)]
    if below is not None:
        parts += [Text(), *lay_out(below, width)]
    return Group(*parts, *_full_reasons(main, records, width), Text(), *_footer(records))


def record_title(record: RunRecord) -> list[Text]:
    """Return what ran where, and the circumstances, on two lines."""
    environment = record.environment
    gpu = gpu_label(environment.gpu, record.source) if environment.gpu else None
    total = environment.gpu_total_bytes
    circumstances = (
        record.precision,
        record.mode,
        f"{format_bytes(total)} of memory" if total else None,
        f"torch {environment.torch_version}",
        f"cuDNN {environment.cudnn_version}" if environment.cudnn_version else None,
        environment.allocator_settings,
    )
    title = " · ".join(part for part in (record.model, gpu, record.source.value) if part)
    return [Text(title, "bold"), Text(" · ".join(part for part in circumstances if part), "dim")]


def _choose(records: Sequence[RunRecord], width: int) -> tuple[Grid, Grid | None]:
    """The richest main grid that fits, and the breakdown where it must stand below."""
    categories, status, notes = columns.categories(records), columns.status(records), columns.notes(records)
    if records[0].source is Source.ANALYTIC:
        ended = [] if all(record.status is Status.OK for record in records) else [status]
        return _grid(records, [*categories, *ended], notes), None
    below = _grid(records, categories)
    ways = [(beside, phases) for beside in (True, False) for phases in (True, False)]
    for beside, phases in ways:
        analytic = categories if beside else categories[-1:]
        readings = columns.readings(records, phases=phases)
        chosen = [*analytic, *readings, *columns.differences(records), status]
        grid = _grid(records, chosen, notes)
        if grid.width(SIDE_BY_SIDE_GAP) <= width:
            break
    return grid, None if beside else below


def _grid(records: Sequence[RunRecord], shown: Sequence[Column], notes: Mapping[int, str] | None = None) -> Grid:
    stub = Column(heading="batch", cells=tuple(str(record.batch_size) for record in records))
    sections = tuple(record.optimizer or record.mode for record in records)
    return Grid(stub=stub, columns=tuple(shown), sections=sections, notes=notes or {})


def _full_reasons(grid: Grid, records: Sequence[RunRecord], width: int) -> list[RenderableType]:
    """The reasons that were cut short beneath their rows, in full, each once with the rows it is of."""
    rows_of: dict[str, list[str]] = {}
    for record in records:
        reason = columns.reason_of(record)
        if cell_len(reason) > note_width(grid, width):
            rows_of.setdefault(reason, []).append(f"{record.optimizer or record.mode} {record.batch_size}")
    parts: list[RenderableType] = []
    for reason, rows in rows_of.items():
        parts += [Text(), Text(", ".join(rows), "bold"), Padding(Text(reason), (0, 0, 0, 2), expand=False)]
    return parts


def _footer(records: Sequence[RunRecord]) -> list[Text]:
    source = records[0].source
    unknown = sum(record.reading is not None and not record.reading.workspace_known for record in records)
    retried = sum(record.reading is not None and record.reading.allocation_retries > 0 for record in records)
    lines = [source_note(source)] if source is Source.ANALYTIC else [ANALYTIC_ESTIMATE, source_note(source)]
    footer = [Text(line, "dim") for line in lines]
    if unknown:
        higher = "cuDNN gave no size, so the true peak may be higher."
        footer.append(Text(f"workspace: unknown in {unknown} of {len(records)} rows; {higher}"))
    if retried:
        footer.append(Text(f"{retried} of {len(records)} rows had to free cached memory and allocate again."))
    return footer


@dataclass(frozen=True, kw_only=True)
class GpuRow:
    """A GPU that can be asked for by `key`.

    `assumed` and `calibrated` name the fields whose figure nobody published, or was measured on the user's own card;
    `not_shown` are the assumed figures that have no column, in words.
    """

    name: str
    key: str
    capability: str
    memory_bytes: int | None
    multiprocessors: int | None
    context_bytes: int | None = None
    assumed: frozenset[str] = frozenset()
    calibrated: frozenset[str] = frozenset()
    not_shown: tuple[str, ...] = ()
    runnable: bool = True  # the installed PyTorch has code for it


def gpus_table(real: Sequence[GpuRow], catalog: Sequence[GpuRow]) -> RenderableType:
    """Return the GPUs of this machine and the phantom ones of the catalog, with what tells them apart."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("--gpu", no_wrap=True)  # what is typed stands whole
    table.add_column("name", overflow="fold")
    for heading in ("capability", "SMs", "memory", "context"):
        table.add_column(heading, justify="right", no_wrap=True)
    for section, rows in (("real", real), ("phantom", catalog)):
        table.add_row(Text(section, "bold"))
        for gpu in rows:
            table.add_row(*_gpu_cells(gpu))
        if not rows:
            table.add_row("", Text("none here", "dim"))
    notes = [Text(note, "dim") for note in _gpu_notes((*real, *catalog))]
    return Group(table, *([Text(), *notes] if notes else []))


def _gpu_notes(rows: Sequence[GpuRow]) -> Iterator[str]:
    if any(gpu.assumed for gpu in rows):
        yield "* assumed: nobody published this figure"
    if any(gpu.calibrated for gpu in rows):
        yield "+ calibrated: measured on a card of yours by memprof calibrate"
    not_shown = dict.fromkeys(gpu.not_shown for gpu in rows if gpu.not_shown)
    for figures in not_shown:
        yield f"{', '.join(figures)} assumed too: {', '.join(gpu.key for gpu in rows if gpu.not_shown == figures)}"
    without_code = [gpu.key for gpu in rows if not gpu.runnable]
    if without_code:
        yield f"the installed PyTorch has no code for {', '.join(without_code)}"


def _gpu_cells(gpu: GpuRow) -> list[Text]:
    cells = {
        "key": f"  {gpu.key}",
        "name": gpu.name,
        "capability": gpu.capability,
        "multiprocessors": UNKNOWN if gpu.multiprocessors is None else str(gpu.multiprocessors),
        "memory_bytes": format_bytes(gpu.memory_bytes),
        "context_bytes": format_bytes(gpu.context_bytes),
    }
    style = "" if gpu.runnable else "dim"
    return [Text(f"{_mark(gpu, name)}{cell}", style) for name, cell in cells.items()]


def _mark(gpu: GpuRow, name: str) -> str:
    if name in gpu.assumed:
        return "*"
    return "+" if name in gpu.calibrated else ""


@dataclass(frozen=True, kw_only=True)
class CheckRow:
    """One finding of `memprof doctor`: its state is ``ok``, ``warn`` or ``missing``; advice where not ok."""

    name: str
    state: Literal["ok", "warn", "missing"]
    detail: str
    advice: str | None = None


def doctor_table(checks: Sequence[CheckRow]) -> RenderableType:
    """Return the findings one below another, the advice beneath the finding that it would mend."""
    styles = {"ok": "green", "warn": "bold magenta", "missing": "bold red"}
    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(2):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        table.add_row(Text(check.name, "bold"), Text(check.state, styles[check.state]), Text(check.detail))
        if check.advice:
            table.add_row("", "", Text(check.advice, "dim"))
    return table
