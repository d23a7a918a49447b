"""The whole page before it is written in any language: title, verdict, sections."""

from __future__ import annotations

from dataclasses import dataclass

from profiler.page.batches import max_batch_section, sweep_section
from profiler.page.gather import Gathered
from profiler.page.knobs import knobs_section
from profiler.page.nouns import Section
from profiler.page.origin import origin_section
from profiler.page.peak import peak_section
from profiler.page.verdict import Verdict, gpu_text, judge
from profiler.records import Source


@dataclass(frozen=True, kw_only=True)
class Page:
    """What is laid out. `circumstances` are those that all figures of the page share."""

    title: str
    source: Source
    circumstances: tuple[str, ...]
    verdict: Verdict
    sections: tuple[Section, ...]


def make_page(gathered: Gathered) -> Page:
    """Return the page: the answer first, then how far it goes, the peak, the batch sizes, the knobs and the origin."""
    sections = []
    if gathered.max_batch is not None:
        sections.append(max_batch_section(gathered.max_batch.content))
    if gathered.explained is not None:
        sections.append(peak_section(gathered.explained.content))
    if gathered.sweep is not None:
        sections.append(sweep_section(gathered.sweep.content))
    if gathered.comparison is not None:
        sections.append(knobs_section(gathered.comparison.content, gathered.comparison.manifest.variants))
    return Page(
        title=gathered.name,
        source=gathered.source,
        circumstances=_circumstances(gathered),
        verdict=judge(gathered),
        sections=(*sections, origin_section(gathered)),
    )


def _circumstances(gathered: Gathered) -> tuple[str, ...]:
    config = gathered.results[0].manifest.config
    model = config.get("model", {}).get("name")
    parts = (
        model if model != gathered.name else None,
        gpu_text(gathered),
        gathered.source.value,
        config.get("precision"),
        config.get("mode"),
        f"torch {gathered.environment.torch_version}",
    )
    return tuple(str(part) for part in parts if part)
