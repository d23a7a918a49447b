"""Records turned into the columns of a table, each under the word for where its figures come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from memprof.records import RunRecord, Status
from memprof.report.assumed import STAR, assumes_context
from memprof.report.figures import (
    BUFFERS,
    CATEGORIES,
    DIFFERENCE,
    ESTIMATE,
    NVML_USED,
    PEAK,
    PHASE_PEAKS,
    READINGS,
    RESERVED,
    SUM,
    TEXTBOOK,
    Figure,
    bound_text,
    bytes_of,
    difference_percent,
    has_tiny_estimate,
)
from memprof.report.terminal.layout import Column
from memprof.results.diff import figure_of
from memprof.units import UNKNOWN, format_bytes, format_percent

# Only colors that can be read on a light and on a dark background.
STATUS_STYLES: Mapping[str, str] = {
    "ok": "dim",
    "oom": "bold magenta",
    **dict.fromkeys(("timeout", "killed", "error"), "bold red"),
}


def figure_column(records: Sequence[RunRecord], figure: Figure, group: str, heading: str = "") -> Column:
    """Return one figure of each record under `group`, the peak in bold."""
    return Column(
        heading=heading or figure.short_heading,
        group=group,
        cells=tuple(_cell(record, figure) for record in records),
        style="bold" if figure is PEAK else "",
    )


def _cell(record: RunRecord, figure: Figure) -> str:
    """Of a run that did not finish, a peak is a lower bound, and those of its phases are unknown."""
    size = bytes_of(record, figure)
    if record.status is not Status.OK and figure in PHASE_PEAKS:
        return UNKNOWN
    return bound_text(size, record.status) if figure in READINGS else format_bytes(size)


def finished_column(
    records: Sequence[RunRecord | None], figure: Figure, group: str, heading: str = "", style: str = ""
) -> Column:
    """Return the same for a comparison: the peak of a run that did not end is unknown there."""
    cells = tuple(format_bytes(figure_of(record, figure.key)) for record in records)
    return Column(heading=heading or figure.short_heading, group=group, cells=cells, style=style)


def categories(records: Sequence[RunRecord]) -> list[Column]:
    """Return the analytic columns, the estimate last; buffers only if there are any."""
    buffered = any(record.breakdown and record.breakdown.buffers_bytes for record in records)
    shown = [figure for figure in (*CATEGORIES, SUM, TEXTBOOK, ESTIMATE) if figure is not BUFFERS or buffered]
    return [figure_column(records, figure, "analytic") for figure in shown]


def readings(records: Sequence[RunRecord], *, phases: bool) -> list[Column]:
    """Return the columns that a device's counters filled; with `phases`, the peak of each phase too."""
    source = records[0].source.value
    star = STAR if any(assumes_context(record.environment) for record in records) else ""
    nvml = figure_column(records, NVML_USED, source, NVML_USED.short_heading + star)
    rest = [figure_column(records, RESERVED, source), nvml]
    if not phases:
        return [figure_column(records, PEAK, source), *rest]
    ran = [figure for figure in PHASE_PEAKS if any(bytes_of(record, figure) for record in records)]
    peaks = [figure_column(records, figure, f"{source} peak") for figure in ran]
    return [*peaks, figure_column(records, PEAK, f"{source} peak", "highest"), *rest]


def differences(records: Sequence[RunRecord]) -> list[Column]:
    """Return the peak minus the estimate, in bytes and in per cent, both signed.

    A percentage of a tiny estimate is left blank, and the column left out if no record has another one.
    """
    sizes = tuple(format_bytes(record.difference_bytes, signed=True) for record in records)
    found = [Column(heading="bytes", group=DIFFERENCE.heading, cells=sizes)]
    if all(difference_percent(record) is None for record in records):
        return found
    percents = tuple(_percent(record) for record in records)
    return [*found, Column(heading="percent", group=DIFFERENCE.heading, cells=percents)]


def blank_percents(records: Sequence[RunRecord]) -> bool:
    """Say whether `differences` leaves some percentages blank and shows others."""
    tiny = [has_tiny_estimate(record) for record in records if record.difference_percent is not None]
    return any(tiny) and not all(tiny)


def _percent(record: RunRecord) -> str:
    return "" if has_tiny_estimate(record) else format_percent(record.difference_percent).removesuffix(" %")


def status(records: Sequence[RunRecord]) -> Column:
    """Return how each record ended."""
    cells = tuple(record.status.value for record in records)
    return Column(heading="status", cells=cells, cell_styles=STATUS_STYLES)


def notes(records: Sequence[RunRecord]) -> dict[int, str]:
    """Return why each row failed, by its place; of consecutive rows with one reason, only the last has the note."""
    reasons = [reason_of(record) for record in records]
    keys = [*((record.optimizer, reason) for record, reason in zip(records, reasons, strict=True)), None]
    return {place: reason for place, reason in enumerate(reasons) if reason and keys[place] != keys[place + 1]}


def reason_of(record: RunRecord) -> str:
    """Return why the record failed, on one line; empty if it did not."""
    return "" if record.status is Status.OK or not record.error else " ".join(record.error.split())
