"""The page about a tracked region of a user's own loop."""

from __future__ import annotations

from memprof.breakdown.explanation import TrackedPeak
from memprof.report.assumed import STAR, context_notes
from memprof.report.labels import part_name
from memprof.report.page.chart_data import timeline_chart
from memprof.report.page.charts import Chart
from memprof.report.page.document import Page
from memprof.report.page.elements import Heading, Section, Table, bytes_cell, text_cell
from memprof.report.page.explain_section import (
    blocks_table,
    memory_levels,
    module_tree,
    peaks_table,
    segments,
    why_unknown,
)
from memprof.report.page.summary_section import Fact, Fits, Verdict, device_fact, source_fact
from memprof.report.plots.timeline import tracked_plot
from memprof.report.terminal.explain import where
from memprof.units import format_bytes


def tracked_page(tracked: TrackedPeak) -> Page:
    """Return the page: the peak, each phase, and what the peak consists of."""
    return Page(
        title=tracked.model or "tracked region",
        source=tracked.source,
        circumstances=(*tracked.circumstances, f"torch {tracked.torch_version}"),
        verdict=_verdict(tracked),
        sections=(_section(tracked),),
    )


def _verdict(tracked: TrackedPeak) -> Verdict:
    explanation = tracked.explanation
    peak = format_bytes(explanation.peak_allocated_bytes)
    facts = [Fact(name="Peak allocated", value=peak, detail=f"by PyTorch, in {where(explanation.peak)}")]
    star = STAR if tracked.context_is_assumed and explanation.nvml_used_bytes is not None else ""
    if explanation.nvml_used_bytes is not None:
        facts.append(device_fact(explanation.nvml_used_bytes, tracked.gpu_total_bytes, "reported by NVML", star))
    return Verdict(
        fits=Fits.YES,
        headline=f"It ran: the peak is {peak}.",
        facts=(*facts, source_fact(tracked.source)),
        notes=context_notes(star),
    )


def _section(tracked: TrackedPeak) -> Section:
    explanation = tracked.explanation
    return Section(
        id="explain",
        title="What the peak consists of",
        lead=why_unknown(explanation),
        parts=(
            memory_levels(explanation, tracked.source, tracked.gpu_total_bytes, tracked.context_is_assumed),
            _phases(tracked),
            *_timeline(tracked),
            _categories(tracked),
            blocks_table(explanation),
            module_tree(explanation),
            peaks_table(explanation),
        ),
    )


def _timeline(tracked: TrackedPeak) -> tuple[Chart, ...]:
    return (timeline_chart(tracked_plot(tracked)),) if tracked.explanation.timeline.positions else ()


def _categories(tracked: TrackedPeak) -> Table:
    parts = segments(tracked.explanation.allocated_parts)
    return Table(
        caption="The peak, by category",
        headings=(Heading(text="category", numeric=False), Heading(text="at the peak", group=tracked.source.value)),
        rows=tuple((text_cell(part.name, category=part.category), bytes_cell(part.size)) for part in parts),
    )


def _phases(tracked: TrackedPeak) -> Table:
    rows = tuple((text_cell(part_name(phase)), bytes_cell(peak)) for phase, peak in tracked.phase_peaks.items())
    headings = (
        Heading(text="phase", numeric=False),
        Heading(text="highest allocated", group=tracked.source.value, counts="torch.cuda.memory_allocated"),
    )
    return Table(caption="Highest allocated bytes of each phase, over all steps", headings=headings, rows=rows)
