"""The section of the peak: from requested bytes to GPU memory, by category, module and line."""

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
from memprof.records import RunRecord, Source
from memprof.report.assumed import STAR, assumes_context, context_notes
from memprof.report.figures import bound_text
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
    count_cell,
    text_cell,
)
from memprof.report.page.names import run_name
from memprof.report.parallel_notes import parallel_notes
from memprof.report.plots.colors import in_stack_order
from memprof.report.plots.timeline import timeline_plot
from memprof.report.terminal.columns import reason_of
from memprof.report.terminal.explain import short_lines, where
from memprof.report.value_notes import value_notes
from memprof.units import UNKNOWN, format_bytes

MOST_BLOCKS = 25  # in the table; the note below it has the sum of the others
_TITLE = "What the peak consists of"


def explain_section(explained: Explained) -> Section:
    """Return the section; if there is no explanation, only the reason."""
    record, explanation = explained.record, explained.explanation
    if explanation is None:
        reason = record.error or f"the run ended with {record.status.value}"
        return Section(id="explain", title=_TITLE, lead=(f"Nothing to explain: {reason}.",), parts=())
    return Section(
        id="explain",
        title=_TITLE,
        lead=(
            *_ending(record),
            _where(explanation, record),
            *why_unknown(explanation),
            *parallel_notes([record]),
            *(note[0].upper() + note[1:] for note in value_notes([record])),
        ),
        parts=(
            memory_levels(
                explanation, record.source, record.environment.gpu_total_bytes, assumes_context(record.environment)
            ),
            *_timeline(explained),
            differences_table(explained.differences, record.source),
            blocks_table(explanation),
            module_tree(explanation),
            peaks_table(explanation),
        ),
    )


def _timeline(explained: Explained) -> tuple[Chart, ...]:
    """The chart of the step of the peak; none if no allocator event was recorded in it."""
    assert explained.explanation is not None
    return (timeline_chart(timeline_plot(explained)),) if explained.explanation.timeline.positions else ()


def _ending(record: RunRecord) -> tuple[str, ...]:
    """Why the run did not finish; the peak is then only what it reached."""
    reason = reason_of(record)
    if not reason:
        return ()
    return (f"The run ended with {record.status.value}: {reason}", "It needs more memory than what is shown below.")


def _where(explanation: Explanation, record: RunRecord) -> str:
    peak = explanation.peak
    size = bound_text(peak.allocated_bytes, record.status)
    return f"{run_name(record)}: the peak is {size} allocated, in {where(peak)}."


def why_unknown(explanation: Explanation) -> tuple[str, ...]:
    """Return the sentence that says why bytes are unknown, if there are any."""
    reason = explanation.unknown_reason
    return (f"Why bytes are unknown: {reason}.",) if reason else ()


def segments(parts: Parts) -> tuple[Segment, ...]:
    """Return the parts that hold anything, in the order of the stack."""
    held = [name for name in in_stack_order(parts) if parts[name]]
    return tuple(Segment(category=name, name=part_name(name), size=parts[name]) for name in held)


def memory_levels(explanation: Explanation, source: Source, gpu_total_bytes: int | None, assumed: bool) -> Bars:
    """Return requested → allocated → reserved → device, each level with what it adds to the previous one.

    If the size of the CUDA context is `assumed`, the level that contains it has a star.
    """
    parts: dict[str, Parts] = {
        "requested": {name: size for name, size in explanation.allocated_parts.items() if name != ROUNDING},
        "allocated": explanation.allocated_parts,
        "reserved": explanation.reserved_parts,
        "device": explanation.device_parts or {},
    }
    star = STAR if assumed and explanation.nvml_used_bytes is not None else ""
    bars = tuple(_level_bar(level, parts[level.name], star) for level in explanation.memory_levels)
    notes = ["Requested and allocated: at the moment of the peak. Reserved and device: at their own highest."]
    if gpu_total_bytes:
        notes.append(f"The GPU has {format_bytes(gpu_total_bytes)}.")
    return Bars(
        caption=f"From requested bytes to GPU memory ({source.value})",
        bars=bars,
        notes=(" ".join(notes), *context_notes(star)),
        brief=True,
    )


def _level_bar(level: MemoryLevel, parts: Parts, star: str) -> Bar:
    """The bar, with what the level counts and adds: ``torch.cuda.max_memory_reserved: +46.00 MiB cached``."""
    star = star if level.name == "device" else ""
    note = level_meaning(level.name)
    if level.added_name:
        note += f": {format_bytes(level.added_bytes, signed=True)} {part_name(level.added_name)}{star}"
    return Bar(name=level.name + star, segments=segments(parts), total=level.bytes, note=note)


def differences_table(differences: Sequence[Difference], source: Source) -> Table:
    """Return the analytic estimate next to the peak by category, with the reason of each difference."""
    headings = (
        Heading(text="category", numeric=False),
        Heading(text="estimate", group=Source.ANALYTIC.value),
        Heading(text="at the peak", group=source.value),
        Heading(text="difference"),
        Heading(text="reason", numeric=False, below=True),
    )
    rows = tuple(
        (
            text_cell(part_name(item.name), category=item.name),
            bytes_cell(item.analytic_bytes),
            bytes_cell(item.bytes),
            bytes_cell(None if item.analytic_bytes is None else item.difference_bytes, signed=True),
            text_cell(item.reason),
        )
        for item in differences
    )
    known = [item.analytic_bytes for item in differences if item.analytic_bytes is not None]
    analytic = sum(known) if len(known) == len(differences) else None
    total = sum(item.bytes for item in differences)
    sums = (f"Total: estimate {format_bytes(analytic)}, at the peak {format_bytes(total)}.",)
    return Table(caption="Analytic estimate and the peak, by category", headings=headings, rows=rows, notes=sums)


def blocks_table(explanation: Explanation) -> Table:
    """Return the largest blocks at the peak, and the sum of the others."""
    shown, others = explanation.blocks[:MOST_BLOCKS], explanation.blocks[MOST_BLOCKS:]
    headings = (
        Heading(text="block", numeric=False),
        Heading(text="category", numeric=False),
        Heading(text="size"),
        Heading(text="allocated at", numeric=False),
        Heading(text="module", numeric=False),
        Heading(text="allocated in", numeric=False),
        Heading(text="requested"),
    )
    total = format_bytes(sum(block.block_bytes for block in explanation.blocks))
    notes = [f"{len(explanation.blocks):,} blocks, {total} in total."]
    if others:
        rest = format_bytes(sum(block.block_bytes for block in others))
        notes.append(f"Not shown: the {len(others):,} smallest blocks, {rest} in total.")
    lines = short_lines([block.line for block in shown])
    rows = tuple(_block_row(block, line) for block, line in zip(shown, lines, strict=True))
    return Table(caption="Largest blocks at the peak", headings=headings, rows=rows, notes=tuple(notes))


def _block_row(block: Block, line: str) -> tuple[Cell, ...]:
    phase = block.phase.value if block.phase else ""
    when = f"step {block.step:,} {phase}".rstrip() if block.step is not None else "before the first step"
    return (
        text_cell(block.name, category=block.category),
        text_cell(part_name(block.category)),
        bytes_cell(block.block_bytes, style="strong"),
        text_cell(line, style="code"),
        text_cell("the model" if block.module == "" else block.module, style="code"),
        text_cell(when),
        bytes_cell(block.requested_bytes),
    )


def peaks_table(explanation: Explanation) -> Table:
    """Return the other peaks of the run: what the peak becomes when the highest one is reduced."""
    headings = (
        Heading(text="place", numeric=False),
        Heading(text="allocated"),
        Heading(text="step"),
        Heading(text="operator", numeric=False),
    )
    rows = tuple(_peak_row(peak) for peak in (explanation.peak, *explanation.other_peaks))
    return Table(caption="The peak and other peaks", headings=headings, rows=rows, brief=False)


def _peak_row(peak: PeakContext) -> tuple[Cell, ...]:
    place = [part_name(peak.phase) if peak.phase else "before the first step", peak.module or ""]
    return (
        text_cell(" · ".join(filter(None, place))),
        bytes_cell(peak.allocated_bytes, style="strong"),
        count_cell(peak.step),
        text_cell(peak.operator, style="code"),
    )


def module_tree(explanation: Explanation) -> Tree:
    """Return the modules, nested, and what belongs to none of them."""
    rows = explanation.modules
    below: dict[str, list[ModuleRow]] = {row.path: [] for row in rows}
    roots: list[ModuleRow] = []
    for row in rows:
        parent = _parent(row.path, below)
        (roots if parent is None else below[parent]).append(row)
    outside = segments(explanation.outside_parts)
    notes: tuple[str, ...] = ()
    if outside:
        sums = ", ".join(f"{item.name} {format_bytes(item.size)}" for item in outside)
        notes = (f"Outside modules: {sums}.",)
    caption = "Modules at the peak, each including its submodules"
    return Tree(caption=caption, roots=tuple(_branch(row, below) for row in roots), notes=notes)


def _parent(path: str, known: dict[str, list[ModuleRow]]) -> str | None:
    """The nearest known module that contains `path`; the model contains all others."""
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
        bar=Bar(name=row.path, segments=segments(row.parts), total=sum(row.parts.values())),
        children=tuple(_branch(child, below) for child in below[row.path]),
    )
