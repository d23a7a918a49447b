"""An explanation for a terminal: memory levels, the peak by category, modules, largest blocks and other peaks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from memprof.breakdown.attribution import find_differences, names_module
from memprof.breakdown.explanation import (
    Block,
    Category,
    Difference,
    Explained,
    Explanation,
    Parts,
    PeakContext,
)
from memprof.records import Source, Status
from memprof.report.assumed import STAR, assumes_context, context_notes
from memprof.report.figures import bound_text
from memprof.report.labels import level_meaning, ordinal, part_name, source_note
from memprof.report.loop_notes import loop_notes
from memprof.report.parallel_notes import parallel_notes
from memprof.report.terminal.advice import advice_lines
from memprof.report.terminal.columns import STATUS_STYLES
from memprof.report.terminal.header import title_lines
from memprof.report.terminal.layout import Column, Grid, lay_out, shorten
from memprof.report.terminal.module_groups import GROUPS_NOTE, chosen_depth, grouped
from memprof.report.terminal.spread import TITLE, spread_lines
from memprof.report.terminal.summary import down_to, one_tree
from memprof.report.value_notes import value_notes
from memprof.units import UNKNOWN, format_bytes, format_percent

_OF_SNAPSHOTS = (
    "From a snapshot. It names neither the GPU nor the parameters: blocks that are kept to its end are reported as "
    "unknown, with the operator that allocated them."
)
_BAR = 24  # cells
_BELOW_PEAK = 3  # parts: a blank line, the peak, a blank line
_OF_MODULES = (
    Category.PARAMETERS.value,
    Category.ACTIVATIONS.value,
    Category.GRADIENTS.value,
    Category.OPTIMIZER_STATE.value,
    Category.WORKSPACE.value,
    Category.TEMPORARY.value,
)


def explain_report(explained: Explained, depth: int | None, most_blocks: int, width: int = 80) -> RenderableType:
    """Return the whole answer; if nothing ran, only the title and the reason."""
    record, explanation = explained.record, explained.explanation
    asked = f"{record.optimizer or record.mode}, batch {record.batch_size:,}"
    head: list[RenderableType] = [*title_lines([record]), Text(asked)]
    if record.status is not Status.OK:
        reason = f"ended with {record.status.value}: {record.error}"
        head.append(Text(reason, STATUS_STYLES[record.status.value]))
    if explanation is None:
        return Group(*head)
    head += [Text(note) for note in (*loop_notes([record]), *parallel_notes([record]), *value_notes([record]))]
    starred = assumes_context(record.environment)
    parts = _parts(explanation, explained.differences, record.source, (depth, most_blocks), width, starred)
    parts[1] = peak_line(explanation, record.status)
    if advised := advice_lines(explained, width):
        parts = [*parts[:_BELOW_PEAK], Text("What saves most", "bold"), *advised, Text(), *parts[_BELOW_PEAK:]]
    if explained.spread is not None:
        bar = [Text(TITLE, "bold"), *spread_lines(explained.spread, width), Text()]
        parts = [*parts[:-1], *bar, parts[-1]]  # what the figures' source means stays last
    return Group(*head, *parts)


def peak_report(
    explanation: Explanation,
    title: str,
    source: Source | None,
    width: int = 80,
    most_blocks: int = 10,
    starred: bool = False,
) -> RenderableType:
    """Return the same for a peak without a config, so without analytic figures.

    `source` is ``None`` if it is unknown, as in a snapshot. `starred` if the size of the CUDA context is assumed.
    """
    differences = find_differences(explanation, None)
    return Group(Text(title, "bold"), *_parts(explanation, differences, source, (None, most_blocks), width, starred))


def _parts(
    explanation: Explanation,
    differences: Sequence[Difference],
    source: Source | None,
    shown: tuple[int | None, int],
    width: int,
    starred: bool = False,
) -> list[RenderableType]:
    depth, most_blocks = shown
    heading = source.value if source else "snapshot"
    parts: list[RenderableType] = [Text(), peak_line(explanation), Text()]
    sections = {
        "From requested bytes to GPU memory": _levels(explanation, heading, width, starred),
        "What the peak consists of": _categories(explanation, differences, heading, width),
        "Modules at the peak": _modules(explanation, depth, heading, width),
        f"{most_blocks} largest blocks at the peak": _blocks(explanation, most_blocks, width),
        "Copies in another dtype in this step, also those freed before the peak": _blocks_of(
            explanation.conversions, (), width
        ),
        "Other peaks": _peaks(explanation, width),
    }
    for name, lines in sections.items():
        parts += [Text(name, "bold"), *lines, Text()] if lines else []
    return [*parts, Text(source_note(source) if source else _OF_SNAPSHOTS, "dim")]


def peak_line(explanation: Explanation, status: Status = Status.OK) -> Text:
    """Return where the peak falls, in a sentence; that of a run that did not finish is a lower bound."""
    line = Text("peak ")
    line.append(bound_text(explanation.peak_allocated_bytes, status), "bold")
    line.append(f" in {where(explanation.peak)}")
    return line


def where(moment: PeakContext) -> str:
    """Return the place of a peak in words: ``backward of step 2, in layer4.0.conv1 (convolution_backward)``."""
    if moment.step is None and moment.phase is None:
        return "the time before the first step"
    phase = moment.phase.value.replace("_", " ") if moment.phase else "the time between phases"
    step = f" of step {moment.step}" if moment.step is not None else ""
    module = f", in {moment.module}" if moment.module else ""
    operator = f" ({moment.operator})" if moment.operator else ""
    return f"{phase}{step}{module}{operator}"


def _place(moment: PeakContext) -> str:
    """The same without the step, which the row names."""
    return where(replace(moment, step=None)) if moment.phase else where(moment)


def _levels(explanation: Explanation, source: str, width: int, starred: bool) -> list[Text]:
    """Return the levels; with `starred`, those with the context are marked, and a line says why."""
    star = STAR if starred and explanation.nvml_used_bytes is not None else ""
    names, sizes, meanings = [], [], []
    for level in explanation.memory_levels:
        mark = star if level.name == "device" else ""
        if level.added_name:
            names.append(f"+ {part_name(level.added_name)}{mark}")
            sizes.append(format_bytes(level.added_bytes))
            meanings.append(level_meaning(level.added_name))
        names.append(part_name(level.name) + mark)
        sizes.append(format_bytes(level.bytes))
        meanings.append(level_meaning(level.name))
    taken = max(map(len, names)) + max(map(len, sizes)) + 4
    grid = Grid(
        stub=Column(heading="", cells=tuple(names), left=True),
        columns=(
            Column(heading=source, cells=tuple(sizes), style="bold"),
            Column(heading="", cells=tuple(shorten(text, width - taken) for text in meanings), left=True, style="dim"),
        ),
        sections=("",) * len(names),
    )
    return [*lay_out(grid, width), *(Text(note, "dim") for note in context_notes(star))]


def _categories(explanation: Explanation, rows: Sequence[Difference], source: str, width: int) -> list[Text]:
    total, analytic = explanation.peak_allocated_bytes, [row.analytic_bytes for row in rows]
    whole = None if None in analytic else sum(size for size in analytic if size is not None)
    sizes = [row.bytes for row in rows]
    shares = [100 * size / total if total else None for size in sizes]
    differences = [None if row.analytic_bytes is None else row.difference_bytes for row in rows]
    columns: tuple[Column, ...] = (
        Column(heading="analytic", cells=tuple(map(format_bytes, (*analytic, whole)))),
        Column(heading=source, cells=tuple(map(format_bytes, (*sizes, sum(sizes)))), style="bold"),
        Column(heading="share", cells=(*(format_percent(share, signed=False) for share in shares), "")),
        Column(
            heading="difference",
            cells=tuple(
                format_bytes(item, signed=True)
                for item in (*differences, None if whole is None else sum(sizes) - whole)
            ),
            cell_styles={"0 B": "dim"},
        ),
        Column(heading="", cells=(*(_bar(share) for share in shares), ""), left=True, style="cyan"),
    )
    names = (*(part_name(row.name) for row in rows), "allocated")
    notes = {place: row.reason for place, row in enumerate(rows) if row.reason}
    if not set(analytic) - {None}:
        columns = tuple(column for column in columns if column.heading not in ("analytic", "difference"))
    grid = Grid(
        stub=Column(heading="", cells=names, left=True),
        columns=columns,
        sections=("",) * len(names),
        notes=notes,
        whole_notes=True,
    )
    if grid.width(1) > width:
        grid = replace(grid, columns=columns[:-1])
    return lay_out(grid, width)


def _bar(share: float | None) -> str:
    """A bar of eighths of a cell."""
    whole, rest = divmod(round((share or 0) / 100 * _BAR * 8), 8)
    return "█" * whole + " ▏▎▍▌▋▊▉"[rest].strip()


def _modules(explanation: Explanation, depth: int | None, source: str, width: int) -> list[Text]:
    if not explanation.modules or not any(row.parts for row in explanation.modules):
        return []
    every = grouped(explanation.modules)
    depth = chosen_depth(every) if depth is None else depth
    rows = [replace(row, parts=_folded(row.parts)) for row in down_to(every, depth)]
    grid = one_tree(rows, source, {"outside modules": _folded(explanation.outside_parts)}, width)
    hidden = len(every) - len(rows)
    deeper = f"{hidden:,} lines of modules hidden; use --depth {depth + 1}. {GROUPS_NOTE}"
    return [*lay_out(grid, width), *([Text(deeper, "dim")] if hidden else [])]


def _folded(parts: Parts) -> Parts:
    """The parts that a module is looked at for; the small ones are one."""
    shown = {name: parts.get(name, 0) for name in _OF_MODULES}
    return {**shown, "other": sum(size for name, size in parts.items() if name not in shown)}


def _blocks(explanation: Explanation, most: int, width: int) -> list[Text]:
    return _blocks_of(explanation.blocks[:most], explanation.blocks[most:], width)


def _blocks_of(shown: Sequence[Block], rest: Sequence[Block], width: int) -> list[Text]:
    """Return a row for each block of `shown`, and one for all of `rest`; nothing if there are none."""
    if not shown:
        return []
    names = [_titled(block) for block in shown]
    cells = [format_bytes(block.block_bytes) for block in shown]
    categories = [part_name(block.category.value) for block in shown]
    lines = short_lines([block.line for block in shown])
    if rest:
        names.append(f"{len(rest):,} smaller blocks")
        cells.append(format_bytes(sum(block.block_bytes for block in rest)))
        categories.append("")
        lines.append("")
    columns = [
        Column(heading="bytes", cells=tuple(cells), style="bold"),
        Column(heading="category", cells=tuple(categories), left=True),
    ]
    if set(lines) - {UNKNOWN, ""}:
        columns.append(Column(heading="allocated at", cells=tuple(lines), left=True, style="dim"))
    room = max(width - sum(column.width + 1 for column in columns), 24)
    stub = Column(heading="block", cells=tuple(_cut(name, room) for name in names), left=True)
    return lay_out(Grid(stub=stub, columns=tuple(columns), sections=("",) * len(names)), width)


def _titled(block: Block) -> str:
    """The block's name, with its module unless the name begins with it."""
    if not block.module or names_module(block.name, block.module):
        return block.name
    return f"{block.module}: {block.name}"


def short_lines(lines: Sequence[str | None]) -> list[str]:
    """Return ``file:line`` for each place, with as much of the folders as tells files of one name apart."""
    places = [Path(line) if line else None for line in lines]
    folders: dict[str, set[Path]] = {}
    for place in places:
        if place is not None:
            folders.setdefault(re.sub(r":\d+$", "", place.name), set()).add(place.parent)
    shown = []
    for place in places:
        if place is None:
            shown.append(UNKNOWN)
            continue
        alone = len(folders[re.sub(r":\d+$", "", place.name)]) == 1
        shown.append(place.name if alone else f"{place.parent.name}/{place.name}")
    return shown


def _peaks(explanation: Explanation, width: int) -> list[Text]:
    steps = [(f"step {moment.step}", moment) for moment in explanation.step_peaks]
    following = [(f"{ordinal(place)} highest", moment) for place, moment in enumerate(explanation.other_peaks, start=2)]
    named = [*steps, *following]
    sections = ["peak of each step"] * len(steps) + ["next highest peaks"] * len(following)
    sizes = [format_bytes(moment.allocated_bytes) for _, moment in named]
    below = [
        format_bytes(moment.allocated_bytes - explanation.peak.allocated_bytes, signed=True) for _, moment in named
    ]
    places = [*(_place(moment) for _, moment in steps), *(where(moment) for _, moment in following)]
    taken = max((len(name) + 2 for name, _ in named), default=0) + max(map(len, sizes), default=0) + 16
    grid = Grid(
        stub=Column(heading="", cells=tuple(name for name, _ in named), left=True),
        columns=(
            Column(heading="allocated", cells=tuple(sizes), style="bold"),
            Column(heading="vs peak", cells=tuple(below), cell_styles={"0 B": "dim"}),
            Column(heading="where", cells=tuple(_cut(place, width - taken) for place in places), left=True),
        ),
        sections=tuple(sections),
    )
    return lay_out(grid, width)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: max(width - 1, 1)]}…"
