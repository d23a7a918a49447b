"""The data model of plots: all that is drawn, as bytes and names, before anything is drawn.

Files, the terminal and the report page draw from the same model. Unknown is ``None`` and leaves a gap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from memprof.records import Source, Status
from memprof.report.plots.axes import BatchAxis, ByteAxis


class PlotKind(StrEnum):
    """What a plot shows of memory; the values are the names on the command line."""

    BATCH = "batch"  # peaks against batch sizes
    CATEGORIES = "categories"  # a bar of its parts for each variant
    TIMELINE = "timeline"  # its parts through the step of the peak


class Format(StrEnum):
    """The file formats; the values are their suffixes."""

    PNG = "png"
    SVG = "svg"


@dataclass(frozen=True, kw_only=True)
class Heading:
    """The text above and below a plot. `note` says where its figures come from."""

    title: str
    circumstances: str
    note: str
    source: Source


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One part of memory at each point of an axis; layers are stacked in their order."""

    part: str
    values_bytes: tuple[int | None, ...]


@dataclass(frozen=True, kw_only=True)
class Limit:
    """The memory of the GPU, and 80 % of it."""

    gpu: str
    total_bytes: int

    @property
    def bytes_80_percent(self) -> int:
        """80 % of the memory, rounded down."""
        return self.total_bytes * 8 // 10


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One variant over its batch sizes. `layers` are the analytic categories.

    `estimates_bytes` are analytic too; the peaks are of runs. A peak is ``None`` if the run did not finish; `ends` says
    how it ended.
    """

    name: str
    batch_sizes: tuple[int, ...]
    peaks_bytes: tuple[int | None, ...]
    reserved_bytes: tuple[int | None, ...]
    estimates_bytes: tuple[int | None, ...]
    layers: tuple[Layer, ...]
    ends: tuple[Status, ...]

    def finished(self) -> list[tuple[int, int]]:
        """Return batch size and peak of each run that finished."""
        return [(size, peak) for size, peak in zip(self.batch_sizes, self.peaks_bytes, strict=True) if peak is not None]

    def unfinished(self) -> list[tuple[int, Status]]:
        """Return batch size and status of each run that did not."""
        return [(size, end) for size, end in zip(self.batch_sizes, self.ends, strict=True) if end is not Status.OK]


@dataclass(frozen=True, kw_only=True)
class BatchPlot:
    """Peak memory against batch size. A limit far above the data has its own scale: `limit_apart`."""

    heading: Heading
    curves: tuple[Curve, ...]
    axis: ByteAxis
    batches: BatchAxis
    limit: Limit | None
    limit_apart: bool


@dataclass(frozen=True, kw_only=True)
class Bar:
    """The parts of one variant. They sum to `total_bytes`; ``None`` if one of them is unknown."""

    group: str
    name: str
    parts: Mapping[str, int] | None
    total_bytes: int | None
    peak_bytes: int | None  # None: the bar itself shows the reading, or there is no complete one
    end: Status


@dataclass(frozen=True, kw_only=True)
class CategoriesPlot:
    """Stacked bars, one for each variant. `limit` is ``None`` if it is too far above the bars to be drawn."""

    heading: Heading
    bars: tuple[Bar, ...]
    axis: ByteAxis
    limit: Limit | None
    total_name: str  # the heading of the bars' sums: "sum"
    peak_name: str  # the heading of the peaks; "" if there are none

    @property
    def mark_name(self) -> str:
        """What the marks of peaks mean; "" if no bar has one, as when no run finished."""
        return self.peak_name if any(bar.peak_bytes is not None for bar in self.bars) else ""


@dataclass(frozen=True, kw_only=True)
class Span:
    """A named range of a timeline, from `start` up to but without `end`."""

    name: str
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class TimelinePlot:
    """Allocated memory through the step of the peak; at each position the layers sum to what is allocated."""

    heading: Heading
    positions: tuple[int, ...]
    layers: tuple[Layer, ...]
    spans: tuple[Span, ...]
    peak_position: int
    peak_bytes: int
    peak_place: str  # where it was reached: "backward of layer4.2, convolution_backward"
    reserved_bytes: int
    axis: ByteAxis


Plot = BatchPlot | CategoriesPlot | TimelinePlot
