"""The position of a value on an axis, in thousandths of it. `plots.axes` chooses the labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from memprof.report.plots.axes import ByteAxis, batch_axis

SPAN = 1000  # width and height of a chart in its own coordinates
_MARGIN = 0.015  # of the axis, beyond the outermost points, so that their dots are not cut
_LEAST_GAP = 90  # thousandths, between two labels


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A label on an axis and its position."""

    at: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Scale:
    """One axis from `low` to `high`, with its labels."""

    low: float
    high: float
    log: bool = False
    ticks: tuple[Tick, ...] = ()

    def place(self, value: float) -> float:
        """Return the position of `value`, 0 at `low` and `SPAN` at `high`."""
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return round(SPAN * (at - low) / (high - low), 1) if high > low else SPAN / 2

    def with_ticks(self, labels: Sequence[tuple[float, str]]) -> Scale:
        """Return the same axis with these values labelled."""
        ticks = tuple(Tick(at=self.place(value), text=text) for value, text in labels)
        return Scale(low=self.low, high=self.high, log=self.log, ticks=ticks)


def byte_scale(axis: ByteAxis) -> Scale:
    """Return the axis of bytes, with the unit in every label."""
    labels = [(size, f"{axis.number(size)} {axis.unit}" if size else "0") for size in axis.tick_bytes]
    return Scale(low=0, high=axis.top_bytes).with_ticks(labels)


def batch_scale(sizes: Sequence[int]) -> Scale:
    """Return the axis of these batch sizes, in ascending order: logarithmic if they grow by factors, else from 0."""
    axis = batch_axis(sizes)
    margin = (sizes[-1] / sizes[0]) ** _MARGIN if axis.logarithmic else 1 + _MARGIN
    low = sizes[0] / margin if axis.logarithmic else 0
    scale = Scale(low=low, high=max(sizes[-1], 1) * margin, log=axis.logarithmic)
    return scale.with_ticks([(size, f"{size:,}") for size in axis.ticks])


def line_scale(sizes: Sequence[int]) -> Scale:
    """Return a linear axis from 0 for these batch sizes, in ascending order, on which a fitted line is straight."""
    scale = Scale(low=0, high=max(sizes[-1], 1) * (1 + _MARGIN))
    kept: list[int] = []
    for size in reversed(sizes):
        if not kept or scale.place(kept[-1]) - scale.place(size) >= _LEAST_GAP:
            kept.append(size)
    return scale.with_ticks([(size, f"{size:,}") for size in reversed(kept)])


def position_scale(positions: Sequence[int]) -> Scale:
    """Return the axis of a timeline, with labels only at its two ends."""
    ends = (positions[0], positions[-1]) if positions else (0, 1)
    return Scale(low=ends[0], high=max(ends[1], ends[0] + 1)).with_ticks([(end, f"{end:,}") for end in ends])
