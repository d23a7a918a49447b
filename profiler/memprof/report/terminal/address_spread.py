"""The address spread of one point: requested, allocated and reserved under several orders of addresses."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from memprof.breakdown.address_spread import FIGURES, AddressRun, AddressSpread, Spread
from memprof.report.terminal.layout import Column, Grid, lay_out
from memprof.units import UNKNOWN, format_bytes, format_percent

TITLE = "Address spread: the same point with the driver's addresses in other orders"
_OF_THIS = "tie-breaking of this PyTorch, on phantoms"
_OF_OLDER = "tie-breaking by address, as before PyTorch 2.12, simulated"


def address_spread_lines(found: AddressSpread, width: int) -> list[Text]:
    """Return the spread of each figure over the runs and the simulations, and the runs that ended differently."""
    rows = [(_OF_THIS, figure, found.spread(figure)) for figure in FIGURES]
    rows += [(_OF_OLDER, figure, found.simulated_spread(figure)) for figure in FIGURES if found.simulated]
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
    policies = ", ".join(run.policy.value for run in found.runs)
    return [*lay_out(grid, width), *(Text(note, "dim") for note in (f"orders: {policies}", *notes))]


def _bytes(spread: Spread | None, name: str) -> str:
    return format_bytes(getattr(spread, name) if spread else None)


def _percent(spread: Spread | None) -> str:
    if spread is None:
        return UNKNOWN
    share = 100 * spread.bytes / spread.lowest_bytes if spread.lowest_bytes else 0.0
    return f"{share:.3f} %" if 0 < share < 0.05 else format_percent(share, signed=False)


def _ended(run: AddressRun, found: AddressSpread) -> str:
    how = "simulated, " if run in found.simulated else ""
    return f"{run.policy.value}: {how}ended with {run.status.value}, so it is not counted"


def _not_simulated(found: AddressSpread) -> Iterator[str]:
    if not found.simulated:
        yield "tie-breaking by address: not simulated; needs a finished run with default allocator settings"
