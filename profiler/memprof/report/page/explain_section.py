"""The section of the peak taken apart: from what was asked for to what the GPU holds, by category, module and line."""

from __future__ import annotations

from collections.abc import Sequence

from memprof.breakdown.explanation import (
    ROUNDING,
    Block,
    Difference,
    Explained,
    Explanation,
    MemoryLevel,
    ModuleRow,
    Parts,
    PeakContext,
)
from memprof.records import RunRecord
from memprof.report.labels import level_meaning, part_name
from memprof.report.page.chart_data import timeline_chart
from memprof.report.page.charts import Chart
from memprof.report.page.elements import (
    Bar,
    Bars,
    Branch,
    Cell,
    Heading,
    Section,
    Segment,
    Table,
    Tree,
    bytes_cell,
    text_cell,
)
from memprof.report.page.summary_section import what_ran
from memprof.report.plots.build import timeline_picture
from memprof.report.plots.colors import in_stack_order
from memprof.report.terminal.columns import reason_of
from memprof.report.terminal.explain import short_lines, where
from memprof.units import UNKNOWN, format_bytes

MOST_BLOCKS = 25  # in the table; the note beneath it has the sum of the others


def peak_section(explained: Explained) -> Section:
    """Return the section; without an explanation it has the reason alone."""
    record, explanation = explained.record, explained.explanation
    if explanation is None:
        reason = record.error or f"the run ended with {record.status.value}"
        return Section(id="peak", title="The peak, taken apart", lead=(f"Nothing to take apart: {reason}.",), parts=())
    return Section(
        id="peak",
        title="The peak, taken apart",
        lead=(*_ending(record), _where(explanation, record), *_unknown(explanation)),
        parts=(
            memory_levels(explanation, record),
            *_timeline(explained),
            differences_table(explained.differences, record),
            blocks_table(explanation),
            module_tree(explanation),
            moments_table(explanation),
        ),
    )


def _timeline(explained: Explained) -> tuple[Chart, ...]:
    """The chart of the step of the peak; none where no event was recorded in it."""
    assert explained.explanation is not None
    return (timeline_chart(timeline_picture(explained)),) if explained.explanation.timeline.positions else ()


def _ending(record: RunRecord) -> tuple[str, ...]:
    """What cut the run short, if it did not get to its end; the peak is then that of what ran."""
    reason = reason_of(record)
    return (f"The run ended with {record.status.value}: {reason}",) if reason else ()


def _where(explanation: Explanation, record: RunRecord) -> str:
    peak = explanation.peak
    return f"{what_ran(record)}: the peak is {format_bytes(peak.allocated_bytes)} allocated, in {where(peak)}."


def _unknown(explanation: Explanation) -> tuple[str, ...]:
    reason = explanation.unknown_reason
    return (f"What is called unknown: {reason}.",) if reason else ()


def segments(parts: Parts) -> tuple[Segment, ...]:
    """Return the parts that hold anything, in the order of every stack."""
    held = [name for name in in_stack_order(parts) if parts[name]]
    return tuple(Segment(category=name, name=part_name(name), bytes=parts[name]) for name in held)


def memory_levels(explanation: Explanation, record: RunRecord) -> Bars:
    """Return requested → allocated → reserved → device, each level with what it adds to the one before."""
    parts: dict[str, Parts] = {
        "requested": {name: size for name, size in explanation.allocated_parts.items() if name != ROUNDING},
        "allocated": explanation.allocated_parts,
        "reserved": explanation.reserved_parts,
        "device": explanation.device_parts or {},
    }
    bars = tuple(
        Bar(name=level.name, segments=segments(parts[level.name]), total_bytes=level.bytes, note=_meaning(level))
        for level in explanation.memory_levels
    )
    notes = ["Requested and allocated are those of the instant of the peak; reserved and device of their own highest."]
    if record.environment.gpu_total_bytes:
        notes.append(f"The GPU has {format_bytes(record.environment.gpu_total_bytes)}.")
    return Bars(
        caption=f"From requested to device ({record.source.value})", bars=bars, notes=(" ".join(notes),), brief=True
    )


def _meaning(level: MemoryLevel) -> str:
    """What the level counts, and what it adds to the one below: ``torch.cuda.max_memory_reserved: 46.00 MiB more``."""
    meaning = level_meaning(level.name)
    if not level.added_name:
        return meaning
    return f"{meaning}: {format_bytes(level.added_bytes, signed=True)} {part_name(level.added_name)}"


def differences_table(differences: Sequence[Difference], record: RunRecord) -> Table:
    """Return the analytic breakdown beside the peak, category by category, each difference with its reason."""
    source = record.source.value
    headings = (
        Heading(text="category", numeric=False),
        Heading(text="analytic"),
        Heading(text=f"at the peak ({source})"),
        Heading(text="difference"),
        Heading(text="reason", numeric=False),
    )
    rows = tuple(
        (
            text_cell(part_name(item.name), category=item.name),
            bytes_cell(item.analytic_bytes),
            bytes_cell(item.bytes),
            bytes_cell(None if item.analytic_bytes is None else item.difference_bytes, signed=True),
            text_cell(item.reason or "the same"),
        )
        for item in differences
    )
    known = [item.analytic_bytes for item in differences if item.analytic_bytes is not None]
    analytic = sum(known) if len(known) == len(differences) else None
    total = sum(item.bytes for item in differences)
    sums = (f"Sum: {format_bytes(analytic)} analytic, {format_bytes(total)} at the peak.",)
    return Table(caption="Analytic against the peak", headings=headings, rows=rows, notes=sums)


def blocks_table(explanation: Explanation) -> Table:
    """Return the largest blocks that were there at the peak, and the sum of the others."""
    shown, others = explanation.blocks[:MOST_BLOCKS], explanation.blocks[MOST_BLOCKS:]
    headings = (
        Heading(text="block", numeric=False),
        Heading(text="category", numeric=False),
        Heading(text="size"),
        Heading(text="line", numeric=False),
        Heading(text="module", numeric=False),
        Heading(text="asked for in", numeric=False),
        Heading(text="requested"),
    )
    total = format_bytes(sum(block.block_bytes for block in explanation.blocks))
    notes = [f"{len(explanation.blocks):,} blocks, {total} in all."]
    if others:
        rest = format_bytes(sum(block.block_bytes for block in others))
        notes.append(f"Not in the table: the {len(others):,} smallest, {rest} together.")
    lines = short_lines([block.line for block in shown])
    rows = tuple(_block_row(block, line) for block, line in zip(shown, lines, strict=True))
    return Table(caption="Largest blocks at the peak", headings=headings, rows=rows, notes=tuple(notes))


def _block_row(block: Block, line: str) -> tuple[Cell, ...]:
    phase = block.phase.value if block.phase else ""
    when = f"step {block.step} {phase}".rstrip() if block.step is not None else "before the first step"
    return (
        text_cell(block.name, category=block.category),
        text_cell(part_name(block.category)),
        bytes_cell(block.block_bytes, style="strong"),
        text_cell(line, style="code"),
        text_cell("the model itself" if block.module == "" else block.module, style="code"),
        text_cell(when),
        bytes_cell(block.requested_bytes),
    )


def moments_table(explanation: Explanation) -> Table:
    """Return the next highest points of other stretches of the run: what the peak falls to once the first is mended."""
    headings = (
        Heading(text="where", numeric=False),
        Heading(text="allocated"),
        Heading(text="step"),
        Heading(text="operator", numeric=False),
    )
    rows = tuple(_moment_row(moment) for moment in (explanation.peak, *explanation.other_peaks))
    return Table(caption="The peak and the next highest points", headings=headings, rows=rows, brief=False)


def _moment_row(moment: PeakContext) -> tuple[Cell, ...]:
    place = [part_name(moment.phase) if moment.phase else "before the first step", moment.module or ""]
    step = Cell(text=UNKNOWN if moment.step is None else str(moment.step), sort=moment.step)
    return (
        text_cell(" · ".join(filter(None, place))),
        bytes_cell(moment.allocated_bytes, style="strong"),
        step,
        text_cell(moment.operator, style="code"),
    )


def module_tree(explanation: Explanation) -> Tree:
    """Return the modules, nested, and beside the model what belongs to none of its modules."""
    rows = explanation.modules
    below: dict[str, list[ModuleRow]] = {row.path: [] for row in rows}
    roots: list[ModuleRow] = []
    for row in rows:
        parent = _parent(row.path, below)
        (roots if parent is None else below[parent]).append(row)
    outside = segments(explanation.outside_parts)
    notes: tuple[str, ...] = ()
    if outside:
        sums = ", ".join(f"{item.name} {format_bytes(item.bytes)}" for item in outside)
        notes = (f"Of no module: {sums}.",)
    caption = "By module, at the peak; each with all that is in it"
    return Tree(caption=caption, roots=tuple(_branch(row, below) for row in roots), notes=notes)


def _parent(path: str, known: dict[str, list[ModuleRow]]) -> str | None:
    """The nearest module around `path`; the model itself is around all others."""
    while path:
        path = path.rpartition(".")[0]
        if path in known:
            return path
    return None


def _branch(row: ModuleRow, below: dict[str, list[ModuleRow]]) -> Branch:
    return Branch(
        name=row.path or "the model",
        type=row.type,
        shapes=", ".join("×".join(map(str, shape)) or "scalar" for shape in row.output_shapes) or UNKNOWN,
        parameters=row.parameters,
        bar=Bar(name=row.path, segments=segments(row.parts), total_bytes=sum(row.parts.values())),
        children=tuple(_branch(child, below) for child in below[row.path]),
    )
