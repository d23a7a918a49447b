"""The whole page before it is written as HTML or Markdown: title, verdict, sections."""

from __future__ import annotations

from dataclasses import dataclass

from memprof.records import Source
from memprof.report.page.collect import ReportInputs
from memprof.report.page.compare_section import compare_section
from memprof.report.page.elements import Section
from memprof.report.page.explain_section import explain_section
from memprof.report.page.max_batch_section import max_batch_section
from memprof.report.page.names import gpu_text
from memprof.report.page.reproduce_section import reproduce_section
from memprof.report.page.summary_section import Verdict, summarize
from memprof.report.page.sweep_section import sweep_section


@dataclass(frozen=True, kw_only=True)
class Page:
    """The content of the page. All figures of the page share the `circumstances`."""

    title: str
    source: Source
    circumstances: tuple[str, ...]
    verdict: Verdict
    sections: tuple[Section, ...]


def make_page(inputs: ReportInputs) -> Page:
    """Return the page: verdict, largest batch, peak, batch sizes, settings compared, how to reproduce it."""
    sections = []
    if inputs.max_batch is not None:
        sections.append(max_batch_section(inputs.max_batch.content))
    if inputs.explained is not None:
        sections.append(explain_section(inputs.explained.content))
    if inputs.sweep is not None:
        sections.append(sweep_section(inputs.sweep.content))
    if inputs.comparison is not None:
        sections.append(compare_section(inputs.comparison.content, inputs.comparison.manifest.variants))
    return Page(
        title=inputs.name,
        source=inputs.source,
        circumstances=_circumstances(inputs),
        verdict=summarize(inputs),
        sections=(*sections, reproduce_section(inputs)),
    )


def _circumstances(inputs: ReportInputs) -> tuple[str, ...]:
    config = inputs.results[0].manifest.config
    model = config.get("model", {}).get("name")
    parts = (
        model if model != inputs.name else None,
        gpu_text(inputs),
        inputs.source.value,
        config.get("precision"),
        config.get("mode"),
        f"torch {inputs.environment.torch_version}",
    )
    return tuple(str(part) for part in parts if part)
