"""The whole page before it is written in any language: title, verdict, sections."""

from __future__ import annotations

from dataclasses import dataclass

from memprof.records import Source
from memprof.report.page.collect import ReportInputs
from memprof.report.page.compare_section import knobs_section
from memprof.report.page.elements import Section
from memprof.report.page.explain_section import peak_section
from memprof.report.page.reproduce_section import origin_section
from memprof.report.page.summary_section import Verdict, gpu_text, judge
from memprof.report.page.sweep_section import max_batch_section, sweep_section


@dataclass(frozen=True, kw_only=True)
class Page:
    """What is laid out. `circumstances` are those that all figures of the page share."""

    title: str
    source: Source
    circumstances: tuple[str, ...]
    verdict: Verdict
    sections: tuple[Section, ...]


def make_page(inputs: ReportInputs) -> Page:
    """Return the page: the answer first, then how far it goes, the peak, the batch sizes, the knobs and the origin."""
    sections = []
    if inputs.max_batch is not None:
        sections.append(max_batch_section(inputs.max_batch.content))
    if inputs.explained is not None:
        sections.append(peak_section(inputs.explained.content))
    if inputs.sweep is not None:
        sections.append(sweep_section(inputs.sweep.content))
    if inputs.comparison is not None:
        sections.append(knobs_section(inputs.comparison.content, inputs.comparison.manifest.variants))
    return Page(
        title=inputs.name,
        source=inputs.source,
        circumstances=_circumstances(inputs),
        verdict=judge(inputs),
        sections=(*sections, origin_section(inputs)),
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
