"""What saves most, and what fragmentation takes: changes that were run, each with its bytes."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from memprof.breakdown.explanation import Advice, Explained
from memprof.report.terminal.layout import Column, Grid, lay_out
from memprof.units import MIB, format_bytes

_MOST = 3
_LEAST_BYTES = MIB  # of what is saved or unused; less is not worth a line
_SEGMENTS = "expandable_segments:True"


def advice_lines(explained: Explained, width: int) -> list[Text]:
    """Return the changes that save most, each run alone, and the memory that is reserved and unused."""
    shown = [advice for advice in explained.advice if advice.saved_reserved_bytes >= _LEAST_BYTES][:_MOST]
    lines = _table(shown, explained.source.value, width) if shown else []
    return [*lines, *_fragmentation(explained)]


def _table(shown: Sequence[Advice], source: str, width: int) -> list[Text]:
    cells = {
        "peak": [format_bytes(advice.peak_allocated_bytes) for advice in shown],
        "reserved": [format_bytes(advice.peak_reserved_bytes) for advice in shown],
        "saved": [format_bytes(advice.saved_reserved_bytes) for advice in shown],
    }
    settings = [" ".join(f"--set {key}={value}" for key, value in advice.settings.items()) for advice in shown]
    grid = Grid(
        stub=Column(heading="change", cells=tuple(advice.name for advice in shown), left=True),
        columns=tuple(
            Column(heading=heading, group=source, cells=tuple(column), style="bold" if heading == "saved" else "")
            for heading, column in cells.items()
        ),
        sections=("",) * len(shown),
        notes={place: f"{text}; cost in speed: {shown[place].cost}" for place, text in enumerate(settings)},
        whole_notes=True,
    )
    return lay_out(grid, width)


def _fragmentation(explained: Explained) -> list[Text]:
    """How much PyTorch keeps reserved at its peaks without use, and what expandable segments save of it."""
    explanation = explained.explanation
    if explanation is None:
        return []
    unused = explanation.peak_reserved_bytes - explanation.peak_allocated_bytes
    if unused < _LEAST_BYTES:
        return []
    tried = next((advice for advice in explained.advice if _SEGMENTS in advice.settings.values()), None)
    line = f"{format_bytes(unused)} reserved and unused"
    if tried is None:
        return [Text(line)]
    saved = tried.saved_reserved_bytes
    effect = f"saves {format_bytes(saved)}" if saved >= _LEAST_BYTES else "saves nothing of it"
    return [Text(f"{line}; {_SEGMENTS} {effect}")]
