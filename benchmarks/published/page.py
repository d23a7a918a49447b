"""Write docs/published.md: a table of each source, and a summary of all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.published.figures import OUT_OF_MEMORY, UNITS, Row, Source, shown
from benchmarks.published.runs import Found, key
from memprof.units import format_percent


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A published figure next to ours."""

    source: Source
    row: Row
    found: Found | None

    @property
    def ran(self) -> bool:
        """Whether there is a figure of ours."""
        return self.found is not None and not self.found.error

    @property
    def error(self) -> float | None:
        """The difference in percent of the published figure; ``None`` if either has none, or ours is a range."""
        published = self.source.bytes_of(self.row)
        if published is None or self.found is None or len(self.found.found_bytes) != 1:
            return None
        return 100.0 * (self.found.found_bytes[0] - published) / published

    @property
    def verdict_is_right(self) -> bool:
        """Whether both ran out of memory, or neither."""
        return self.found is not None and self.found.oom == (self.row.figure == OUT_OF_MEMORY)

    @property
    def within(self) -> bool | None:
        """Whether the published figure lies in our range; ``None`` if ours is no range."""
        published = self.source.bytes_of(self.row)
        if published is None or self.found is None or len(self.found.found_bytes) != 2:
            return None
        return self.found.found_bytes[0] <= published <= self.found.found_bytes[1]


def compare(sources: Sequence[Source], rows: Mapping[str, Found]) -> list[Compared]:
    """Return every row of the sources with what was found for it."""
    return [
        Compared(source=source, row=row, found=rows.get(key(source, row))) for source in sources for row in source.rows
    ]


def markdown(sources: Sequence[Source], rows: Mapping[str, Found]) -> str:
    """Return the page."""
    compared = compare(sources, rows)
    return "\n".join(
        [
            "# Published figures",
            "",
            "Other projects publish how much memory training takes. `make published` runs the same training on phantom "
            "GPUs, and writes this page. Our figures are emulated. Nothing was fitted to the published ones.",
            "",
            *_versions([one.found for one in compared if one.found]),
            *_summary(sources, compared),
            "",
            "A difference is ours − published, in percent of the published figure. A range has no single difference: "
            "it is the figure over lengths that are not published.",
            "",
            *(line for source in sources for line in _section(source, compared)),
            "## Run it",
            "",
            "```bash",
            "make published                                        # every row; continues where it was stopped",
            "python -m benchmarks.published --only litgpt          # one source",
            "python -m benchmarks.published --page                 # only this page, from the saved rows",
            "```",
            "",
            "The figures are in `benchmarks/published/figures.yaml`, the configs in `configs/published`. A row runs "
            "again if its command, its config or a version changed, or if it failed. A row whose packages are not "
            "installed keeps the figure of its last run.",
            "",
        ]
    )


def _versions(found: Sequence[Found]) -> Iterator[str]:
    """Yield the versions and the days of the runs."""
    days: dict[str, list[str]] = {}
    for one in found:
        days.setdefault(one.versions, []).append(one.day)
    for versions, dates in days.items():
        first, last = min(dates), max(dates)
        when = f"between {first} and {last}" if first != last else f"on {first}"
        yield from (f"The runs were made {when} with {versions}.", "")


def _summary(sources: Sequence[Source], compared: Sequence[Compared]) -> Iterator[str]:
    yield "| source | figures | reproduced | median difference | largest | in the range | verdicts right |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for source in sources:
        yield _line(source.name, [one for one in compared if one.source is source])
    yield _line("all", compared)


def _line(name: str, rows: Sequence[Compared]) -> str:
    errors = [one.error for one in rows if one.error is not None]
    ranges = [one.within for one in rows if one.within is not None]
    ran = [one for one in rows if one.ran]
    typical = format_percent(median(map(abs, errors)), signed=False) if errors else "-"
    worst = format_percent(max(errors, key=abs)) if errors else "-"
    within = f"{sum(ranges)} of {len(ranges)}" if ranges else "-"
    verdicts = f"{sum(one.verdict_is_right for one in ran)} of {len(ran)}"
    return f"| {name} | {len(rows)} | {len(ran)} | {typical} | {worst} | {within} | {verdicts} |"


def _section(source: Source, compared: Sequence[Compared]) -> Iterator[str]:
    rows = [one for one in compared if one.source is source]
    link = f"[source]({source.url})" if source.url.startswith("https") else f"`{source.url}`"
    packages = sorted({one.found.packages for one in rows if one.found and one.found.packages})
    yield from (f"## {source.title}", "")
    yield f"- Published ({link}): {source.gpu}; {source.versions}"
    yield "; ".join((f"- Ours: phantom `{source.phantom}`", *packages))
    yield ""
    yield f"The published figure is {source.counted}. {source.text}".strip()
    yield ""
    yield f"| run | published, {source.unit} | memprof | difference |"
    yield "| --- | ---: | ---: | ---: |"
    yield from (f"| {one.row.name} | {_published(one)} | {_found(one)} | {_difference(one)} |" for one in rows)
    yield ""
    yield from _reasons(rows)
    if commands := [shown(command) for one in rows[:1] if one.ran for command in _commands(one)]:
        yield from ("```bash", *commands, "```", "")


def _commands(one: Compared) -> Iterator[tuple[str, ...]]:
    if one.source.kind != "xmem":
        yield from one.source.commands(one.row)


def _published(one: Compared) -> str:
    return _amount(one.row.figure, one.source) if isinstance(one.row.figure, float) else OUT_OF_MEMORY


def _found(one: Compared) -> str:
    if one.row.not_run or one.found is None or one.found.error:
        return "-"
    if one.found.oom:
        return OUT_OF_MEMORY
    sizes = [_amount(size / UNITS[one.source.unit], one.source) for size in one.found.found_bytes]
    return " to ".join(sizes)


def _amount(figure: float, source: Source) -> str:
    return f"{figure:,.0f}" if source.unit in ("B", "MiB") else f"{figure:,.2f}"


def _difference(one: Compared) -> str:
    if not one.ran:
        return "not reproduced" if one.row.not_run else "not run"
    if not one.verdict_is_right:
        return "**wrong verdict**"
    if one.within is not None:
        return "in the range" if one.within else "**not in the range**"
    return format_percent(one.error) if one.error is not None else "same"


def _reasons(rows: Sequence[Compared]) -> Iterator[str]:
    """Yield why rows differ or are missing, each reason once."""
    names: dict[str, list[str]] = {}
    for one in rows:
        if reason := _reason(one):
            names.setdefault(reason, []).append(one.row.name)
    if names:
        yield from (f"- {'; '.join(of_row)}: {reason}" for reason, of_row in names.items())
        yield ""


def _reason(one: Compared) -> str:
    if one.row.not_run:
        return one.row.not_run
    if one.found is None:
        return f"not run yet; needs {', '.join(one.source.needs)}." if one.source.needs else "not run yet."
    return one.found.error or one.row.reason
