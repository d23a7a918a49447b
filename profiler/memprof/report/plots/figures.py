"""The nouns of pictures: all that is drawn, as bytes and names, before anything is drawn.

A page or a terminal draws from the same ones. Unknown is ``None`` and leaves a gap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from memprof.records import Source, Status
from memprof.report.plots.axes import BatchAxis, ByteAxis


class PictureKind(StrEnum):
    """What a picture shows of memory; the values are the names on the command line."""

    BATCH = "batch"  # peaks against batch sizes
    CATEGORIES = "categories"  # a bar of its parts for each variant
    TIMELINE = "timeline"  # its parts through the step of the peak


class Format(StrEnum):
    """The files that a picture can be drawn to; the values are their suffixes."""

    PNG = "png"
    SVG = "svg"


@dataclass(frozen=True, kw_only=True)
class Heading:
    """What stands above and below a picture. `note` says where its figures come from."""

    title: str
    circumstances: str
    note: str
    source: Source


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One part of memory at each point of an axis; layers are stacked in the order in which they stand."""

    part: str
    values_bytes: tuple[int | None, ...]


@dataclass(frozen=True, kw_only=True)
class Limit:
    """The memory of the GPU, and the eight tenths of it that are called safe."""

    gpu: str
    total_bytes: int

    @property
    def safe_bytes(self) -> int:
        """0.8 of the memory, rounded down."""
        return self.total_bytes * 8 // 10


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One variant over its batch sizes. `layers` are analytic and sum to `totals_bytes`; the peaks are of runs.

    A peak is ``None`` where the run did not get to its end; `ends` says how it ended.
    """

    name: str
    batch_sizes: tuple[int, ...]
    peaks_bytes: tuple[int | None, ...]
    reserved_bytes: tuple[int | None, ...]
    totals_bytes: tuple[int | None, ...]
    layers: tuple[Layer, ...]
    ends: tuple[Status, ...]

    def ran(self) -> list[tuple[int, int]]:
        """Return batch size and peak of each run that got to its end."""
        return [(size, peak) for size, peak in zip(self.batch_sizes, self.peaks_bytes, strict=True) if peak is not None]

    def ended(self) -> list[tuple[int, Status]]:
        """Return batch size and end of each run that did not."""
        return [(size, end) for size, end in zip(self.batch_sizes, self.ends, strict=True) if end is not Status.OK]


@dataclass(frozen=True, kw_only=True)
class BatchPicture:
    """Peak memory against batch size. A limit far above the data has a scale of its own: `limit_apart`."""

    heading: Heading
    curves: tuple[Curve, ...]
    axis: ByteAxis
    batches: BatchAxis
    limit: Limit | None
    limit_apart: bool


@dataclass(frozen=True, kw_only=True)
class Bar:
    """The parts of one variant. They sum to `total_bytes`; ``None`` where one of them is unknown."""

    group: str
    name: str
    parts: Mapping[str, int] | None
    total_bytes: int | None
    peak_bytes: int | None  # None: the bar is itself what was read, or nothing was
    end: Status


@dataclass(frozen=True, kw_only=True)
class CategoriesPicture:
    """Stacked bars, one for each variant. `limit` is there where it is near enough to be drawn."""

    heading: Heading
    bars: tuple[Bar, ...]
    axis: ByteAxis
    limit: Limit | None
    total_name: str  # the heading of the bars' sums: "analytic"
    peak_name: str  # that of the peaks, "" where there are none


@dataclass(frozen=True, kw_only=True)
class Span:
    """A stretch of a timeline with its name, the end left out."""

    name: str
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class TimelinePicture:
    """Allocated memory through the step of the peak; at each position the layers sum to what is allocated."""

    heading: Heading
    positions: tuple[int, ...]
    layers: tuple[Layer, ...]
    spans: tuple[Span, ...]
    peak_position: int
    peak_bytes: int
    peak_place: str  # where it was reached, "backward of layer4.2: convolution_backward"
    reserved_bytes: int
    axis: ByteAxis


Picture = BatchPicture | CategoriesPicture | TimelinePicture
