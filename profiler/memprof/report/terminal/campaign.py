"""The table of a campaign: one row for each combination of model, GPU and settings."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from memprof.experiments.campaign import CampaignRow
from memprof.records import Status
from memprof.report.figures import PEAK, RESERVED
from memprof.report.labels import source_note
from memprof.report.terminal.layout import Column, Grid, lay_out
from memprof.units import UNKNOWN, format_bytes

_FAILED = (Status.ERROR, Status.KILLED, Status.TIMEOUT)


def campaign_verdict(rows: Sequence[CampaignRow]) -> str:
    """Return how many combinations fit at every batch size."""
    fitting = sum(row.fits for row in rows)
    return f"{fitting:,} of {len(rows):,} combinations fit at all their batch sizes"


def campaign_table(rows: Sequence[CampaignRow], width: int = 80) -> RenderableType:
    """Return the combinations with the largest batch that fits, and its peaks."""
    largest = [row.largest for row in rows]
    readings = [record.reading if record else None for record in largest]
    source = rows[0].records[0].source
    has_settings = any(row.combination.settings for row in rows)
    settings = Column(heading="settings", cells=tuple(row.combination.settings or "-" for row in rows), left=True)
    columns = [
        *([settings] if has_settings else []),
        Column(heading="fits up to batch", cells=tuple(_batch(row) for row in rows), style="bold"),
        Column(
            heading=PEAK.heading,
            group=source.value,
            cells=tuple(format_bytes(one.peak_allocated_bytes if one else None) for one in readings),
        ),
        Column(
            heading=RESERVED.heading,
            group=source.value,
            cells=tuple(format_bytes(one.peak_reserved_bytes if one else None) for one in readings),
        ),
        Column(heading="oom", cells=tuple(f"{row.count(Status.OOM):,}" for row in rows)),
        Column(heading="failed", cells=tuple(f"{row.count(*_FAILED):,}" for row in rows)),
    ]
    grid = Grid(
        stub=Column(heading="GPU", cells=tuple(row.combination.gpu for row in rows), left=True),
        columns=tuple(columns),
        sections=tuple(row.combination.model for row in rows),
    )
    return Group(*lay_out(grid, width), Text(), Text(source_note(source), "dim"))


def _batch(row: CampaignRow) -> str:
    return UNKNOWN if row.largest is None else f"{row.largest.batch_size:,}"
