"""GPUs as `memprof monitor` shows them: one row each, and the processes on it below."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from memprof.gpus.monitor import GpuUse
from memprof.report.assumed import context_notes, context_star
from memprof.report.labels import MONITOR_MEANINGS, gpu_label
from memprof.report.terminal.layout import GAPS, Column, Grid, cut, lay_out
from memprof.units import UNKNOWN, format_bytes

_BAR = 20  # cells
_SHORTEST = 24  # cells that a name gets at least


def monitor_table(gpus: Sequence[GpuUse], watched: str, width: int = 80) -> RenderableType:
    """Return the memory used on each GPU, its peak since monitoring began, and the same for each process.

    `watched` is how long that is, in words.
    """
    sources = dict.fromkeys(gpu.source for gpu in gpus)
    meanings = [f"{source.value}: {MONITOR_MEANINGS[source]}." for source in sources]
    meanings += context_notes(max(map(_star, gpus), default=""))
    notes = (Text(meaning, "dim") for meaning in meanings)
    return Group(Text(watched, "bold"), Text(), *lay_out(_grid(gpus, width), width), Text(), *notes)


def _grid(gpus: Sequence[GpuUse], width: int) -> Grid:
    rows = [row for gpu in gpus for row in _rows(gpu)]
    names, *cells = zip(*rows, strict=True)
    figures = [
        Column(heading=heading, cells=column, style="bold" if heading == "used" else "")
        for heading, column in zip(("used", "full", "peak", "total", "source"), cells, strict=True)
    ]
    bar = Column(heading="", cells=tuple(bar for gpu in gpus for bar in _bars(gpu)), left=True)
    taken = sum(column.width + GAPS[1] for column in figures)
    with_bar = width - taken - _BAR - GAPS[1] >= 2 * _SHORTEST
    room = max(width - taken - (_BAR + GAPS[1]) * with_bar, _SHORTEST)
    return Grid(
        stub=Column(heading="GPU, process", cells=tuple(cut(name, room) for name in names), left=True),
        columns=(bar, *figures) if with_bar else tuple(figures),
        sections=("",) * len(rows),
    )


def _star(gpu: GpuUse) -> str:
    """The star of an assumed context, if a process had one."""
    return context_star(gpu.name, gpu.source) if gpu.peak_bytes else ""


def _rows(gpu: GpuUse) -> Iterator[tuple[str, ...]]:
    star = _star(gpu)
    yield (
        f"{gpu.index} {gpu_label(gpu.name, gpu.source)}",
        format_bytes(gpu.used_bytes) + (star if gpu.used_bytes else ""),
        _percent(gpu),
        format_bytes(gpu.peak_bytes) + star,
        format_bytes(gpu.total_bytes),
        gpu.source.value,
    )
    for process in gpu.processes:
        name = f"  {process.pid} {process.name or UNKNOWN}"
        yield name, format_bytes(process.used_bytes) + star, "", format_bytes(process.peak_bytes) + star, "", ""


def _percent(gpu: GpuUse) -> str:
    return UNKNOWN if gpu.used_bytes is None else f"{100 * gpu.used_bytes / gpu.total_bytes:.0f} %"


def _bars(gpu: GpuUse) -> Iterator[str]:
    full = round(_BAR * (gpu.used_bytes or 0) / gpu.total_bytes)
    yield "█" * full + "░" * (_BAR - full)
    yield from ("" for _ in gpu.processes)
