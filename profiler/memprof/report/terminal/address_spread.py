"""The error bar of one point for a terminal: requested, allocated and reserved under several orders of addresses."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from memprof.breakdown.address_spread import FIGURES, AddressRun, AddressSpread, Spread
from memprof.report.terminal.layout import Column, Grid, lay_out
from memprof.units import UNKNOWN, format_bytes, format_percent

TITLE = "Error bar: the same point, the driver's addresses in other orders"
_OF_THIS = "ties as this PyTorch breaks them, on phantoms"
_OF_OLDER = "ties broken by address, as before PyTorch 2.12, acted out"


def error_bar_lines(bar: AddressSpread, width: int) -> list[Text]:
    """Return the spread of each figure over the runs and over what was acted out, and what ended otherwise."""
    rows = [(_OF_THIS, figure, bar.spread(figure)) for figure in FIGURES]
    rows += [(_OF_OLDER, figure, bar.simulated_spread(figure)) for figure in FIGURES if bar.simulated]
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
    notes = [*(_ended(run, bar) for run in bar.ended_differently), *_not_acted_out(bar)]
    policies = ", ".join(run.policy.value for run in bar.runs)
    return [*lay_out(grid, width), *(Text(note, "dim") for note in (f"orders: {policies}", *notes))]


def _bytes(spread: Spread | None, name: str) -> str:
    return format_bytes(getattr(spread, name) if spread else None)


def _percent(spread: Spread | None) -> str:
    if spread is None:
        return UNKNOWN
    share = 100 * spread.bytes / spread.lowest_bytes if spread.lowest_bytes else 0.0
    return f"{share:.3f} %" if 0 < share < 0.05 else format_percent(share, signed=False)


def _ended(run: AddressRun, bar: AddressSpread) -> str:
    how = "acted out, " if run in bar.simulated else ""
    return f"{run.policy.value}: {how}ended with {run.status.value}, so it does not count"


def _not_acted_out(bar: AddressSpread) -> Iterator[str]:
    if not bar.simulated:
        yield "ties broken by address: not acted out, for want of a whole run under PyTorch's own allocator settings"
