"""The table of `memprof gpus`: the GPUs of this machine, and those that can be simulated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from memprof.units import UNKNOWN, format_bytes

_BRANDS = ("NVIDIA ", "GeForce ", "Tesla ")  # before the name; without them, names fit on one line of 80 cells
_WIDEST_NAME = 17


@dataclass(frozen=True, kw_only=True)
class GpuRow:
    """A GPU that can be asked for by `key`. `kind` is its heading, `year` that of its announcement.

    `assumed` and `calibrated` name the fields whose figure nobody published, or was measured on the user's own GPU;
    `not_shown` are the assumed figures that have no column, in words.
    """

    name: str
    key: str
    capability: str
    memory_bytes: int | None
    multiprocessors: int | None
    kind: str = ""
    year: int | None = None
    context_bytes: int | None = None
    assumed: frozenset[str] = frozenset()
    calibrated: frozenset[str] = frozenset()
    not_shown: tuple[str, ...] = ()
    runnable: bool = True  # the installed PyTorch has kernels for it


def gpus_table(real: Sequence[GpuRow], catalog: Sequence[GpuRow]) -> RenderableType:
    """Return the GPUs of this machine and those of the catalog by kind, one line each."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("--gpu", no_wrap=True)  # what is typed is never cut
    table.add_column("name", no_wrap=True, overflow="ellipsis", max_width=_WIDEST_NAME)
    for heading in ("year", "arch", "SMs", "memory", "context"):
        table.add_column(heading, justify="right", no_wrap=True)
    for section, rows in (("of this machine", real), *_by_kind(catalog).items()):
        table.add_row(Text(section, "bold"))
        for gpu in rows:
            table.add_row(*_cells(gpu))
        if not rows:
            table.add_row(Text("none found", "dim"))
    notes = [Text(note, "dim") for note in _notes((*real, *catalog))]
    return Group(table, *([Text(), *notes] if notes else []))


def _by_kind(catalog: Sequence[GpuRow]) -> dict[str, list[GpuRow]]:
    groups: dict[str, list[GpuRow]] = {}
    for gpu in catalog:
        groups.setdefault(gpu.kind or "other", []).append(gpu)
    return groups


def _notes(rows: Sequence[GpuRow]) -> Iterator[str]:
    kinds = ", ".join(dict.fromkeys(gpu.kind for gpu in rows if gpu.kind))
    if kinds:
        yield f"{kinds}: simulated (phantom); --gpu 24GiB simulates another size of memory"
    if any(gpu.assumed for gpu in rows):
        yield "* assumed: nobody has published this figure"
    if any(gpu.calibrated for gpu in rows):
        yield "+ calibrated: measured on your own GPU by memprof calibrate"
    not_shown = dict.fromkeys(gpu.not_shown for gpu in rows if gpu.not_shown)
    for figures in not_shown:
        yield f"{', '.join(figures)} also assumed: {', '.join(gpu.key for gpu in rows if gpu.not_shown == figures)}"
    without_kernels = [gpu.key for gpu in rows if not gpu.runnable]
    if without_kernels:
        yield f"the installed PyTorch has no kernels for {', '.join(without_kernels)}"


def _cells(gpu: GpuRow) -> list[Text]:
    cells = {
        "key": gpu.key,
        "name": _short(gpu.name),
        "year": UNKNOWN if gpu.year is None else str(gpu.year),
        "capability": f"sm_{gpu.capability.replace('.', '')}",
        "multiprocessors": UNKNOWN if gpu.multiprocessors is None else str(gpu.multiprocessors),
        "memory_bytes": format_bytes(gpu.memory_bytes),
        "context_bytes": format_bytes(gpu.context_bytes),
    }
    style = "" if gpu.runnable else "dim"
    return [Text(f"{_mark(gpu, name)}{cell}", style) for name, cell in cells.items()]


def _short(name: str) -> str:
    for brand in _BRANDS:
        name = name.removeprefix(brand)
    return name


def _mark(gpu: GpuRow, name: str) -> str:
    if name in gpu.assumed:
        return "*"
    return "+" if name in gpu.calibrated else ""
