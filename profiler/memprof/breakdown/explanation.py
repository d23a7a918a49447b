"""The nouns of an explanation: every byte of a peak with its category, its name and where it was asked for.

All parts are maps from a name to bytes, and each map sums to the figure that it explains.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from memprof.breakdown.address_spread import AddressSpread
from memprof.records import Phase, RunRecord, Source


class Category(StrEnum):
    """What a block of the allocator holds. The values are the names of the parts."""

    PARAMETERS = "parameters"
    BUFFERS = "buffers"
    GRADIENTS = "gradients"  # of parameters
    OPTIMIZER_STATE = "optimizer_state"
    INPUT = "input"  # and targets
    ACTIVATIONS = "activations"  # what the forward pass keeps for the backward pass
    OUTPUT = "output"  # the model's output and the loss
    WORKSPACE = "workspace"  # of cuBLAS, cuDNN or a kernel
    TEMPORARY = "temporary"  # gone when its operator, its phase or the backward pass of its consumer is done
    UNKNOWN = "unknown"


# The parts of the device's memory that hold nothing of the program.
ROUNDING = "rounding"  # a block is a multiple of 512 B, and a large one may be longer than what was asked for
CACHED = "cached"  # reserved by the allocator, in no block
CONTEXT = "context"  # of CUDA: the driver's, the kernels' code
OTHER_PROCESSES = "other_processes"

Parts = Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Block:
    """One block that was there at the peak."""

    category: Category
    name: str  # e.g. "layer1.0.conv1.weight", "cuDNN workspace of convolution_backward"
    requested_bytes: int
    block_bytes: int
    module: str | None  # the path of the submodule, "" for the model itself; None outside of it
    operator: str | None  # PyTorch's name without the namespace, e.g. "convolution_backward"
    step: int | None  # in which it was asked for, from 1 on; None before the first
    phase: Phase | None
    line: str | None  # file:line of the Python code that asked for it


@dataclass(frozen=True, kw_only=True)
class PeakContext:
    """The highest point of one stretch: a module's forward or backward within a phase of a step."""

    allocated_bytes: int
    step: int | None
    phase: Phase | None
    module: str | None
    operator: str | None  # that made the block with which it was reached
    parts: Parts


@dataclass(frozen=True, kw_only=True)
class ModuleRow:
    """One submodule at the peak; `parts` are those of itself and everything in it. In order of registration."""

    path: str  # "" for the model itself
    type: str
    output_shapes: tuple[tuple[int, ...], ...]  # of its last forward pass; empty if it did not run
    parameters: int  # how many numbers
    parts: Parts

    @property
    def depth(self) -> int:
        """0 for the model itself."""
        return self.path.count(".") + 1 if self.path else 0


@dataclass(frozen=True, kw_only=True)
class PhaseSpan:
    """Where a phase lies on a timeline, in positions, the end left out."""

    phase: Phase | None
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Allocated bytes by category through the step of the peak.

    A position counts the allocations and frees from the step's begin on. Where there were more than can be drawn, each
    point is the highest of its neighbours.
    """

    step: int | None
    positions: tuple[int, ...]
    series: Mapping[str, tuple[int, ...]]  # by part; at each position they sum to what is allocated
    spans: tuple[PhaseSpan, ...]
    peak_position: int


@dataclass(frozen=True, kw_only=True)
class MemoryLevel:
    """One level of memory, from requested bytes to the driver's figure; `added` is relative to the level below."""

    name: str
    bytes: int
    added_name: str
    added_bytes: int


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """The peak of a run, taken apart. Source of all figures: the allocator's own history.

    `allocated_parts` are those at the instant of the highest allocation, `reserved_parts` those at the instant of the
    highest reservation, `device_parts` those of what NVML counted (``None`` without NVML).
    """

    peak_allocated_bytes: int
    peak_requested_bytes: int  # of the blocks at the instant of the highest allocation
    peak_reserved_bytes: int
    nvml_used_bytes: int | None
    context_bytes: int | None
    allocated_parts: Parts
    reserved_parts: Parts
    device_parts: Parts | None
    highest_parts: Parts  # by category, the most that was there at any instant
    named: Parts  # workspaces and temporaries at the peak, under their own names
    peak: PeakContext
    next_moments: tuple[PeakContext, ...]
    steps: tuple[PeakContext, ...]  # the highest point of each step
    blocks: tuple[Block, ...]  # at the peak, the largest first; all of them, so that they sum up
    modules: tuple[ModuleRow, ...]
    outside_parts: Parts  # what belongs to no module
    timeline: Timeline
    events: int  # of the history
    unknown_reason: str | None = None  # why a part is unknown

    @property
    def memory_levels(self) -> tuple[MemoryLevel, ...]:
        """From the bytes that the program asked for to those that NVML counts; without NVML one level fewer."""
        heights = [("requested", self.peak_requested_bytes, "")]
        heights.append(("allocated", self.peak_allocated_bytes, ROUNDING))
        heights.append(("reserved", self.peak_reserved_bytes, CACHED))
        if self.nvml_used_bytes is not None:
            others = self.device_parts.get(OTHER_PROCESSES) if self.device_parts else None
            added = "context and other processes" if others else CONTEXT
            if self.nvml_used_bytes - self.peak_reserved_bytes < (self.context_bytes or 0):
                added = "context, less what was given back"
            heights.append(("device", self.nvml_used_bytes, added))
        below = [0, *(height for _, height, _ in heights)]
        return tuple(
            MemoryLevel(name=name, bytes=height, added_name=added, added_bytes=height - below[place])
            for place, (name, height, added) in enumerate(heights)
        )


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One category of the analytic breakdown beside what was there at the peak."""

    name: str
    analytic_bytes: int | None  # None: the breakdown has no such category
    bytes: int
    reason: str  # "" where they are the same

    @property
    def difference_bytes(self) -> int:
        """At the peak less analytic."""
        return self.bytes - (self.analytic_bytes or 0)


@dataclass(frozen=True, kw_only=True)
class Explained:
    """What `memprof explain` answers: the run as a sweep records it, and its peak taken apart.

    `explanation` is ``None`` where nothing ran; `record` then has the reason. `address_spread` is ``None`` unless
    it was asked for.
    """

    record: RunRecord
    explanation: Explanation | None
    differences: tuple[Difference, ...]
    address_spread: AddressSpread | None = None

    @property
    def source(self) -> Source:
        """Where the figures come from."""
        return self.record.source
