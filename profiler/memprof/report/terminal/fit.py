"""The table of `memprof fit`: each setting with what it saved, and the set at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rich.console import Group, RenderableType
from rich.text import Text

from memprof.experiments.fit import Step, cheapest_of, peak_bytes, smallest_of
from memprof.experiments.memory_savers import MemorySaver, merged_settings
from memprof.records import RunRecord
from memprof.report.labels import gpu_label, source_note
from memprof.report.terminal.layout import GAPS, Column, Grid, lay_out
from memprof.units import UNKNOWN, format_bytes

_ADDING = "settings by cost in speed, the cheapest first"
_CHANGING = "settings that change what is trained, the smallest change first"
_REMOVING = "removing one setting at a time, the costliest first"


def fit_table(steps: Sequence[Step], memory: str, width: int = 80) -> RenderableType:
    """Return the steps with their peaks and what each saved, and the cheapest set that fits, if any.

    `memory` is the limit, in words.
    """
    first = next(step.free for step in steps if step.free)
    parts: list[RenderableType] = [*_title(first, memory), Text(), *lay_out(_grid(steps, width), width), Text()]
    return Group(*verdict_lines(steps, memory), *parts, Text(source_note(first.source), "dim"))


def verdict_lines(steps: Sequence[Step], memory: str) -> list[Text]:
    """Return the answer: the set that fits and the run that verified it, or the smallest footprint found."""
    best = cheapest_of(steps)
    if best is not None and best.within is not None:
        peaks = _peaks(best.within)
        count = len(best.within.reading.steps) if best.within.reading else 0
        verified = f"verified by {count} steps limited to {memory}: {peaks}"
        fits = Text(f"fits: {names_of(best.savers) or 'as configured'}", "bold green")
        return [fits, *_warning(best.savers), Text(verified)]
    smallest = smallest_of(steps)
    if smallest is None:
        return [Text(f"does not fit into {memory}; no run finished", "bold red")]
    settings = names_of(smallest.savers) or "as configured"
    reached = f"the smallest footprint found is {_peaks(smallest.free)} ({settings})"
    return [Text(f"does not fit into {memory}: {reached}", "bold red"), *_warning(smallest.savers)]


def _warning(savers: Sequence[MemorySaver]) -> list[Text]:
    """Say which settings change what is trained, if any does."""
    changing = names_of([saver for saver in savers if saver.changes_training])
    return [Text(f"this changes what is trained: {changing}", "yellow")] if changing else []


def names_of(savers: Sequence[MemorySaver]) -> str:
    """Return the names of the savers whose setting no later one replaces or rules out."""
    left = merged_settings(savers)
    return ", ".join(saver.name for saver in savers if saver.settings[0] in left)


def _peaks(record: RunRecord | None) -> str:
    peak, reserved = peak_bytes(record), peak_bytes(record, "reserved")
    return f"peak {format_bytes(peak)}, reserved {format_bytes(reserved)}"


def _title(record: RunRecord, memory: str) -> list[Text]:
    gpu = gpu_label(str(record.environment.gpu), record.source)
    named = f"{record.model} · {gpu} · {record.source.value}"
    asked = f"{record.optimizer or record.mode}, batch {record.batch_size:,}, to fit into {memory}"
    return [Text(named, "bold"), Text(asked), Text(f"torch {record.environment.torch_version}", "dim")]


def _grid(steps: Sequence[Step], width: int) -> Grid:
    peaks = _columns(steps, "peak", "allocated", [step.saved_bytes for step in steps])
    reserved = _columns(steps, "reserved", "reserved", [step.saved_reserved_bytes for step in steps])
    result = Column(heading="result", cells=tuple(_result(step) for step in steps))
    grid = Grid(
        stub=Column(heading="", cells=tuple(step.added for step in steps), left=True),
        columns=(*peaks, *reserved, *_seconds(steps), result),
        sections=tuple(_section(step) for step in steps),
        notes=_notes(steps),
    )
    if grid.width(GAPS[-1]) <= width:
        return grid
    return replace(grid, columns=(*peaks, *reserved, result))


def _section(step: Step) -> str:
    if step.left_out:
        return _REMOVING
    return _CHANGING if step.changes_training else _ADDING


def _notes(steps: Sequence[Step]) -> dict[int, str]:
    """Why a setting failed, or what it costs in speed: of several with one cost, only the first has the note."""
    notes = {place: step.reason or step.cost for place, step in enumerate(steps) if not step.left_out or step.reason}
    return {place: note for place, note in notes.items() if note and note != notes.get(place - 1)}


def _seconds(steps: Sequence[Step]) -> list[Column]:
    readings = [step.free.reading if step.free else None for step in steps]
    seconds = [reading.seconds_per_step if reading else None for reading in readings]
    if all(second is None for second in seconds):
        return []
    return [Column(heading="s/step", cells=tuple(UNKNOWN if s is None else f"{s:.4f}" for s in seconds))]


def _columns(steps: Sequence[Step], group: str, name: str, saved: Sequence[int | None]) -> list[Column]:
    sizes = tuple(format_bytes(peak_bytes(step.free, name)) for step in steps)
    savings = tuple("" if place == 0 else format_bytes(item) for place, item in enumerate(saved))
    return [
        Column(heading="bytes", group=group, cells=sizes, style="bold" if name == "allocated" else ""),
        Column(heading="saved", group=group, cells=savings),
    ]


def _result(step: Step) -> str:
    if step.reason is not None:
        return "fails"
    if step.left_out:
        return "not needed" if step.kept else "needed"
    return "fits" if step.fits else "kept" if step.kept else "no effect"
