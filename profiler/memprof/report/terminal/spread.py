"""The spread of one point: requested, allocated and reserved bytes when something outside its config varies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from memprof.breakdown.spread import FIGURES, PointSpread, Spread, SpreadRun, spread_of
from memprof.report.terminal.layout import Column, Grid, lay_out
from memprof.units import UNKNOWN, format_bytes, format_percent

TITLE = "Spread: the same point with settings that no config has"
_ADDRESSES = "order of addresses, tie-breaking of this PyTorch"
_OLDER = "order of addresses, tie-breaking before PyTorch 2.12, simulated"
_TIMINGS = "timing of streams"
_CACHES = "caches of torch.compile"


def spread_lines(found: PointSpread, width: int) -> list[Text]:
    """Return the spread of each figure over the runs and the simulations, and the runs that ended differently."""
    parts = ((_ADDRESSES, found.runs), (_OLDER, found.simulated), (_TIMINGS, found.timings), (_CACHES, found.caches))
    rows = [(title, figure, spread_of(runs, figure)) for title, runs in parts if runs for figure in FIGURES]
    spreads = [spread for _, _, spread in rows]
    grid = Grid(
        stub=Column(heading="", cells=tuple(figure for _, figure, _ in rows), left=True),
        columns=(
            Column(heading="lowest", cells=tuple(_bytes(spread, "lowest_bytes") for spread in spreads)),
            Column(heading="highest", cells=tuple(_bytes(spread, "highest_bytes") for spread in spreads)),
            Column(heading="spread", cells=tuple(_bytes(spread, "bytes") for spread in spreads), style="bold"),
            Column(heading="percent", cells=tuple(_percent(spread) for spread in spreads)),
        ),
        sections=tuple(section for section, _, _ in rows),
    )
    notes = [*(_ended(run, found) for run in found.ended_differently), *_not_simulated(found)]
    settings = [f"{title}: {_settings(runs)}" for title, runs in parts if runs and runs is not found.simulated]
    return [*lay_out(grid, width), *(Text(note, "dim") for note in (*settings, *notes))]


def _settings(runs: Sequence[SpreadRun]) -> str:
    return ", ".join(run.setting for run in runs)


def _bytes(spread: Spread | None, name: str) -> str:
    return format_bytes(getattr(spread, name) if spread else None)


def _percent(spread: Spread | None) -> str:
    if spread is None:
        return UNKNOWN
    share = 100 * spread.bytes / spread.lowest_bytes if spread.lowest_bytes else 0.0
    return f"{share:.3f} %" if 0 < share < 0.05 else format_percent(share, signed=False)


def _ended(run: SpreadRun, found: PointSpread) -> str:
    how = "simulated, " if run in found.simulated else ""
    return f"{run.setting}: {how}ended with {run.status.value}, so it is not counted"


def _not_simulated(found: PointSpread) -> Iterator[str]:
    if not found.simulated:
        yield "tie-breaking by address: not simulated; needs a finished run with default allocator settings"
