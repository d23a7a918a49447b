"""The nouns of memprof: frozen, keyword-only, bytes as ``int``, unknown as ``None``.

A `RunRecord` is one point of a sweep (one optimizer at one batch size) or one variant of a comparison, with everything
that is needed to judge its numbers. Nothing here computes more than a sum or a difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

SCHEMA_VERSION = 2  # 2: the keys of the first release; 1: before the names of the field were taken over


class Source(StrEnum):
    """Where the numbers of a record come from. Never mixed within one record's readings."""

    MEASURED = "measured"  # read from a real GPU
    EMULATED = "emulated"  # read from PyTorch's own counters on a phantom GPU
    ANALYTIC = "analytic"  # a formula over shapes and dtypes


class Status(StrEnum):
    """How a point ended. Running out of memory is a result, told apart from every failure."""

    OK = "ok"
    OOM = "oom"
    TIMEOUT = "timeout"
    KILLED = "killed"
    ERROR = "error"


class Phase(StrEnum):
    """The parts of one training step, in the order in which they run."""

    ZERO_GRAD = "zero_grad"
    FORWARD = "forward"
    LOSS = "loss"
    BACKWARD = "backward"
    OPTIMIZER = "optimizer"


@dataclass(frozen=True, kw_only=True)
class Breakdown:
    """The textbook sum: what shapes and dtypes alone say a training step keeps. Source: always analytic.

    `activations_bytes` is what autograd saves for backward, each storage once, parameters and inputs left out;
    it is ``None`` where the model cannot run without real values.
    """

    parameters_bytes: int
    buffers_bytes: int
    gradients_bytes: int
    optimizer_state_bytes: int | None
    input_bytes: int
    activations_bytes: int | None

    @property
    def total_bytes(self) -> int | None:
        """The sum of the six parts, or ``None`` where one of them is unknown."""
        parts = (
            self.parameters_bytes,
            self.buffers_bytes,
            self.gradients_bytes,
            self.optimizer_state_bytes,
            self.input_bytes,
            self.activations_bytes,
        )
        known = [part for part in parts if part is not None]
        return sum(known) if len(known) == len(parts) else None


@dataclass(frozen=True, kw_only=True)
class PhaseReading:
    """The caching allocator's counters around one phase of one step, from `torch.cuda.memory_stats`."""

    phase: Phase
    allocated_before_bytes: int
    peak_allocated_bytes: int
    allocated_after_bytes: int
    peak_requested_bytes: int
    peak_reserved_bytes: int


@dataclass(frozen=True, kw_only=True)
class StepReading:
    """The phases of one step, in order. `seconds` is ``None`` on a phantom, whose kernels do not run."""

    phases: tuple[PhaseReading, ...]
    seconds: float | None

    @property
    def peak_allocated_bytes(self) -> int:
        """The highest `allocated` of the step."""
        return max(reading.peak_allocated_bytes for reading in self.phases)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What the device's counters said over a whole run, measured or emulated.

    The peaks span every step that ran, also when the last one ran out of memory.
    """

    steps: tuple[StepReading, ...]
    peak_allocated_bytes: int
    peak_requested_bytes: int
    peak_reserved_bytes: int
    nvml_used_bytes: int | None
    context_bytes: int | None  # NVML's used less reserved, at the same moment
    inactive_split_bytes: int
    allocation_retries: int
    workspace_known: bool  # False where cuDNN did not say what a plan's workspace takes

    @property
    def first_step_peak_allocated_bytes(self) -> int | None:
        """The peak of the first step, whose optimizer makes its state only at the end."""
        return self.steps[0].peak_allocated_bytes if self.steps else None

    @property
    def steady_peak_allocated_bytes(self) -> int | None:
        """The peak of the last step, once optimizer state and caches are there."""
        return self.steps[-1].peak_allocated_bytes if len(self.steps) > 1 else None

    @property
    def seconds_per_step(self) -> float | None:
        """The median over the steps after the first, or ``None`` on a phantom."""
        seconds = sorted(step.seconds for step in self.steps[1:] if step.seconds is not None)
        return seconds[len(seconds) // 2] if seconds else None

    def phase_peak_bytes(self, *phases: Phase) -> int | None:
        """The highest `allocated` within any of `phases`, over all steps."""
        peaks = [r.peak_allocated_bytes for step in self.steps for r in step.phases if r.phase in phases]
        return max(peaks, default=None)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one point ended and what was read until then; a child process sends it to its parent.

    `error` is one line, and ``None`` exactly where `status` is ok. `reading` is ``None`` where nothing was
    read. `allocator_requests` are the
    run's allocations and frees, if they were recorded.
    """

    status: Status
    reading: Reading | None = None
    error: str | None = None
    allocator_requests: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The circumstances without which a number is not a result."""

    memprof_version: str
    python_version: str
    platform: str
    torch_version: str
    torchvision_version: str | None
    cuda_version: str | None
    cudnn_version: str | None
    driver_version: str | None
    gpu: str | None  # the catalog's name of a phantom, or the name that the driver gives a real GPU
    gpu_total_bytes: int | None
    source: Source
    allocator_settings: str | None
    git_commit: str | None = None


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One point of a sweep or a comparison: what was asked, what it should take, what it took, and how it ended."""

    model: str
    optimizer: str | None  # None in inference
    precision: str
    mode: str
    batch_size: int
    source: Source
    status: Status
    environment: Environment
    breakdown: Breakdown | None
    reading: Reading | None
    error: str | None = None
    variant: str | None = None  # of a comparison: what tells it from the base; None in a sweep
    largest_batch_size: int | None = None  # that trains, 0 where none does; None where nobody asked, or it is unknown

    @property
    def difference_bytes(self) -> int | None:
        """Peak allocated less the analytic total: positive where the run took more than the textbook sum."""
        total = self.breakdown.total_bytes if self.breakdown else None
        if self.reading is None or total is None or self.status is not Status.OK:
            return None
        return self.reading.peak_allocated_bytes - total

    @property
    def difference_percent(self) -> float | None:
        """`difference_bytes` in per cent of the analytic total."""
        difference = self.difference_bytes
        total = self.breakdown.total_bytes if self.breakdown else None
        return 100.0 * difference / total if difference is not None and total else None


class StopReason(StrEnum):
    """What keeps the next batch size from training."""

    MEMORY = "memory"  # of the GPU
    MEMORY_LIMIT = "memory_limit"  # of `torch.cuda.set_per_process_memory_fraction`
    GRID = "grid_limit"  # a kernel launch of a size that CUDA refuses
    INDEXING = "int32_indexing"  # a tensor too large for a kernel's 32-bit indices
    HOST_MEMORY = "host_memory"
    POINT_TIMEOUT = "timeout_seconds"  # the config's time limit of one point
    ERROR = "error"  # anything else; the try has the text
    MAX = "max"  # nothing: the search was not to go further
    TIME = "timeout"  # nothing: the search had no more time, and its edge is not verified


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One batch size that was tried, each in a process of its own. Peaks are those until it ended."""

    batch_size: int
    status: Status
    peak_allocated_bytes: int | None
    peak_reserved_bytes: int | None
    device_bytes: int | None  # reserved and the CUDA context: what NVML counts of this process
    seconds: float  # of wall time, the start of the process included
    stop: StopReason | None  # None where it trains
    error: str | None = None

    @property
    def trains(self) -> bool:
        """Whether all steps ran."""
        return self.status is Status.OK


@dataclass(frozen=True, kw_only=True)
class MemoryFit:
    """The least-squares line of peak allocated against batch size, over the trials that trained."""

    fixed_bytes: int
    bytes_per_sample: int
    residual_bytes: int  # the largest distance of a try from the line


@dataclass(frozen=True, kw_only=True)
class Accumulation:
    """A target batch as equal micro-batches whose gradients are accumulated, and how a run of it ended."""

    target_batch_size: int
    micro_batch_size: int
    steps: int
    status: Status


@dataclass(frozen=True, kw_only=True)
class MaxBatch:
    """How far one config goes on one GPU, and the trials that prove it."""

    gpu: str
    source: Source
    model: str
    optimizer: str | None
    gpu_total_bytes: int | None
    memory_limit_bytes: int | None
    multiple_of: int
    largest_batch_size: int  # 0: not even one sample trains
    verified: bool  # the largest trains and the next one does not
    stopped_by: StopReason
    batch_size_at_80_percent_memory: int | None
    confirmed: Status | None  # of the run at the safe batch size, an evaluation pass included; None: not run
    fit: MemoryFit | None
    free_bytes: int | None  # of the limit or the GPU, beside what the largest holds
    smallest_footprint_bytes: int | None  # device memory of the smallest batch, where that does not fit
    trials: tuple[Trial, ...]
    more_trials: tuple[Trial, ...]  # for the batch at 80 per cent
    target_batch: Accumulation | None = None  # None where nobody asked, or no batch trains

    @property
    def safe_batch_size(self) -> int:
        """Eight tenths of the largest, rounded down: room for fragmentation and longer samples."""
        return self.largest_batch_size * 8 // 10
