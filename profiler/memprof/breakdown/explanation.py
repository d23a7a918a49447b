"""The data model of an explanation: each byte of a peak with its category, name and allocation site.

All parts are mappings from a name to bytes; the values of each add up to the figure that it explains.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from memprof.breakdown.spread import PointSpread
from memprof.records import Phase, RunRecord, Source


class Category(StrEnum):
    """What a block of the allocator is used for; the values are the names of the parts."""

    PARAMETERS = "parameters"
    BUFFERS = "buffers"
    GRADIENTS = "gradients"  # of parameters
    OPTIMIZER_STATE = "optimizer_state"
    INPUT = "input"  # and targets
    ACTIVATIONS = "activations"  # kept by the forward pass for the backward pass
    OUTPUT = "output"  # the model's output and the loss
    WORKSPACE = "workspace"  # of cuBLAS, cuDNN or a kernel
    TEMPORARY = "temporary"  # freed by the end of its operator, its phase or the backward pass of its consumer
    UNKNOWN = "unknown"


# The parts of the device's memory that the program does not use.
ROUNDING = "rounding"  # a block is a multiple of 512 B, and a large one may be longer than requested
CACHED = "cached"  # reserved by the allocator, but not in any block
CONTEXT = "context"  # of CUDA: the driver's data and the kernels' code
OTHER_PROCESSES = "other_processes"

Parts = Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Block:
    """One block that was allocated at the peak."""

    category: Category
    name: str  # e.g. "layer1.0.conv1.weight", "cuDNN workspace of convolution_backward"
    requested_bytes: int
    block_bytes: int
    module: str | None  # the path of the submodule, "" for the model itself; None outside modules
    operator: str | None  # PyTorch's name without the namespace, e.g. "convolution_backward"
    step: int | None  # in which it was allocated, from 1 on; None before the first
    phase: Phase | None
    line: str | None  # file:line of the Python code that allocated it


@dataclass(frozen=True, kw_only=True)
class PeakContext:
    """The highest point of one interval: a module's forward or backward within a phase of a step."""

    allocated_bytes: int
    step: int | None
    phase: Phase | None
    module: str | None
    operator: str | None  # that allocated the block with which it was reached
    parts: Parts


@dataclass(frozen=True, kw_only=True)
class ModuleRow:
    """One submodule at the peak; `parts` include its own submodules. Rows are in order of registration."""

    path: str  # "" for the model itself
    type: str
    output_shapes: tuple[tuple[int, ...], ...]  # of its last forward pass; empty if it did not run
    parameters: int  # the number of elements
    parts: Parts

    @property
    def depth(self) -> int:
        """0 for the model itself."""
        return self.path.count(".") + 1 if self.path else 0


@dataclass(frozen=True, kw_only=True)
class PhaseSpan:
    """The positions of a phase on a timeline, without the end."""

    phase: Phase | None
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Allocated bytes by category during the step of the peak.

    A position is the number of allocator events since step start. If there are more than a plot can show, each point is
    the highest of several neighbours.
    """

    step: int | None
    positions: tuple[int, ...]
    series: Mapping[str, tuple[int, ...]]  # by part; at each position they add up to the allocated bytes
    spans: tuple[PhaseSpan, ...]
    peak_position: int


@dataclass(frozen=True, kw_only=True)
class MemoryLevel:
    """One memory level, from requested bytes to the driver's figure; `added` is relative to the level below."""

    name: str
    bytes: int
    added_name: str
    added_bytes: int


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What the peak of a run consists of. Source of all figures: the allocator's own history.

    `allocated_parts` describe the point of the highest allocation, `reserved_parts` the point of the highest
    reservation, and `device_parts` what NVML counted (``None`` without NVML).
    """

    peak_allocated_bytes: int
    peak_requested_bytes: int  # of the blocks at the point of the highest allocation
    peak_reserved_bytes: int
    nvml_used_bytes: int | None
    context_bytes: int | None
    allocated_parts: Parts
    reserved_parts: Parts
    device_parts: Parts | None
    highest_parts: Parts  # the maximum of each category over the run
    named_parts: Parts  # workspaces and temporaries at the peak, by name
    peak: PeakContext
    other_peaks: tuple[PeakContext, ...]
    step_peaks: tuple[PeakContext, ...]  # the highest point of each step
    blocks: tuple[Block, ...]  # all blocks at the peak, the largest first
    modules: tuple[ModuleRow, ...]
    outside_parts: Parts  # outside modules
    timeline: Timeline
    event_count: int  # in the history
    unknown_reason: str | None = None  # why a part could not be attributed
    conversions: tuple[
        Block, ...
    ] = ()  # large copies in another dtype in the step of the peak, also if freed before it

    @property
    def memory_levels(self) -> tuple[MemoryLevel, ...]:
        """The levels from requested bytes to those that NVML counts; without NVML one level fewer."""
        levels = [("requested", self.peak_requested_bytes, "")]
        levels.append(("allocated", self.peak_allocated_bytes, ROUNDING))
        levels.append(("reserved", self.peak_reserved_bytes, CACHED))
        if self.nvml_used_bytes is not None:
            others = self.device_parts.get(OTHER_PROCESSES) if self.device_parts else None
            added = "context and other processes" if others else CONTEXT
            if self.nvml_used_bytes - self.peak_reserved_bytes < (self.context_bytes or 0):
                added = "context minus memory given back"
            levels.append(("device", self.nvml_used_bytes, added))
        below = [0, *(size for _, size, _ in levels)]
        return tuple(
            MemoryLevel(name=name, bytes=size, added_name=added, added_bytes=size - below[place])
            for place, (name, size, added) in enumerate(levels)
        )


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One category at the peak next to its analytic estimate."""

    name: str
    analytic_bytes: int | None  # None if there is no breakdown
    bytes: int
    reason: str  # "" if they are equal

    @property
    def difference_bytes(self) -> int:
        """At the peak minus analytic."""
        return self.bytes - (self.analytic_bytes or 0)


@dataclass(frozen=True, kw_only=True)
class Advice:
    """A change of the config that was run, with its peaks and what it saves; negative if it takes more."""

    name: str
    settings: Mapping[str, str]  # config keys and their values
    cost: str  # in speed, in words
    peak_allocated_bytes: int
    peak_reserved_bytes: int
    saved_allocated_bytes: int
    saved_reserved_bytes: int


@dataclass(frozen=True, kw_only=True)
class Explained:
    """The result of `memprof explain`: the record of the run, and what its peak consists of.

    `explanation` is ``None`` if nothing ran; `record` then has the reason. `spread` is ``None`` unless
    requested.
    """

    record: RunRecord
    explanation: Explanation | None
    differences: tuple[Difference, ...]
    spread: PointSpread | None = None
    advice: tuple[Advice, ...] = ()  # the largest saving first; empty if nothing was tried

    @property
    def source(self) -> Source:
        """The source of the figures."""
        return self.record.source


@dataclass(frozen=True, kw_only=True)
class TrackedPeak:
    """The peak of a region of a user's own loop, and what the region ran on.

    `phase_peaks` are the highest allocated bytes of each phase over all steps. `model` is ``None`` for a region without
    one; `optimizers` are the names of their classes. `context_is_assumed` says whether nobody published the size of the
    CUDA context of this phantom.
    """

    explanation: Explanation
    phase_peaks: Mapping[Phase, int]
    model: str | None
    optimizers: tuple[str, ...]
    source: Source
    gpu: str
    gpu_total_bytes: int
    torch_version: str
    context_is_assumed: bool = False

    @property
    def circumstances(self) -> tuple[str, ...]:
        """What the figures hold for, apart from the model."""
        return (*self.optimizers, self.gpu, self.source.value)
