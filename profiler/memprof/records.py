"""The data model of memprof: frozen, keyword-only, bytes as ``int``, unknown as ``None``.

A `RunRecord` is one point of a sweep (one optimizer at one batch size) or one variant of a comparison, with everything
that is needed to interpret its numbers. Nothing here computes more than a sum or a difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

SCHEMA_VERSION = 2  # 2: the keys of the first release; 1: development versions before it


class Source(StrEnum):
    """Where the numbers of a record come from; the readings of one record have a single source."""

    MEASURED = "measured"  # read from a real GPU
    EMULATED = "emulated"  # read from PyTorch's own counters on a phantom GPU
    ANALYTIC = "analytic"  # calculated from shapes and dtypes


class Status(StrEnum):
    """How a point ended. Running out of memory is a result, not a failure."""

    OK = "ok"
    OOM = "oom"
    TIMEOUT = "timeout"
    KILLED = "killed"
    ERROR = "error"


class Phase(StrEnum):
    """The parts of a training step, in order."""

    RESUME = "resume"  # before the first step: loading a checkpoint
    LOAD = "load"  # of the step's batch; missing if one batch stays on the device
    ZERO_GRAD = "zero_grad"
    FORWARD = "forward"
    LOSS = "loss"
    BACKWARD = "backward"
    PIPELINE = "pipeline"  # forward, loss and backward of all microbatches of a stage
    OPTIMIZER = "optimizer"
    EVALUATION = "evaluation"  # after the last step of an epoch


def sum_of_known(parts: Iterable[int | None]) -> int | None:
    """Return the sum of `parts`, or ``None`` if one of them is unknown."""
    total = 0
    for part in parts:
        if part is None:
            return None
        total += part
    return total


@dataclass(frozen=True, kw_only=True)
class Breakdown:
    """The analytic estimate of a training step: the bytes that follow from shapes and dtypes.

    `activations_bytes` is what autograd saves for backward, each storage once, without parameters and inputs;
    it is ``None`` if the model cannot run without real values. `workspace_bytes` is that of cuBLAS, and ``None`` in
    results of versions that did not estimate it.

    `textbook_total_bytes` is the sum that lessons on GPU memory teach: parameters, gradients, optimizer state, the
    data without targets, and what the model itself saves for backward, without the loss.

    `peak_bytes` is the highest sum of blocks that exist at the same time, in the order of the step's operations;
    ``None`` if the step cannot run without real values.
    """

    parameters_bytes: int
    buffers_bytes: int
    gradients_bytes: int
    optimizer_state_bytes: int | None
    input_bytes: int
    activations_bytes: int | None
    workspace_bytes: int | None = None
    textbook_total_bytes: int | None = None
    peak_bytes: int | None = None

    @property
    def total_bytes(self) -> int | None:
        """The sum of the seven parts, or ``None`` if one of them is unknown."""
        return sum_of_known(
            (
                self.parameters_bytes,
                self.buffers_bytes,
                self.gradients_bytes,
                self.optimizer_state_bytes,
                self.input_bytes,
                self.activations_bytes,
                self.workspace_bytes,
            )
        )

    @property
    def estimate_bytes(self) -> int | None:
        """The best estimate of the peak: `peak_bytes`, or the sum of the parts if that is unknown."""
        return self.total_bytes if self.peak_bytes is None else self.peak_bytes


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
    """The phases of one step, in order.

    `seconds` is ``None`` on a phantom, where kernels do not run, and for a step that did not finish.
    """

    phases: tuple[PhaseReading, ...]
    seconds: float | None
    samples: int | None = None  # in its batch, if that is not the batch size of the point
    sizes: Mapping[str, int] | None = None  # of its batch, if they are random ones rather than the largest

    @property
    def peak_allocated_bytes(self) -> int:
        """The highest `allocated` of the step."""
        return max(reading.peak_allocated_bytes for reading in self.phases)


@dataclass(frozen=True, kw_only=True)
class HostValues:
    """What it took to compute values on the CPU, for a run on a phantom with ``values: cpu``."""

    operators: int  # that the device ran
    operators_run: int  # of these on the host
    seconds: float
    peak_bytes: int  # of host memory
    missing: tuple[str, ...] = ()  # operators that the host cannot run; what they write is unknown


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The device's counters over a whole run, measured or emulated.

    The peaks cover every step that ran, even if the last one ran out of memory.
    """

    steps: tuple[StepReading, ...]
    peak_allocated_bytes: int
    peak_requested_bytes: int
    peak_reserved_bytes: int
    nvml_used_bytes: int | None
    context_bytes: int | None  # used (NVML) minus reserved, at the same time
    inactive_split_bytes: int
    allocation_retries: int
    workspace_known: bool  # False if cuDNN did not report the workspace of a plan
    zeros_read: int | None = None  # unknown values that the model's code read on a phantom; None on a real GPU
    host_values: HostValues | None = None  # None without values: cpu
    routing: str | None = None  # what chose the experts in the place of the model: "balanced", "worst: 2×"
    resume: PhaseReading | None = None  # loading the checkpoint; None if the run did not resume
    communicators: int | None = None  # of NCCL; None if the run was not one rank of several
    nccl_bytes: int | None = None  # of all communicators, within the context; None if unknown: then not counted
    host_bytes: int | None = None  # offloaded parameters, gradients and optimizer state; None without offload

    @property
    def device_bytes(self) -> int:
        """What the run took of the GPU at its peak: reserved memory and the CUDA context, if that is known."""
        return self.peak_reserved_bytes + (self.context_bytes or 0)

    @property
    def value_dependent(self) -> bool | None:
        """Whether the peak may depend on values that a phantom does not know; ``None`` on a real GPU."""
        return None if self.zeros_read is None else self.zeros_read > 0

    @property
    def first_step_peak_allocated_bytes(self) -> int | None:
        """The peak of the first step, whose optimizer creates its state only at the end."""
        return self.steps[0].peak_allocated_bytes if self.steps else None

    @property
    def steady_peak_allocated_bytes(self) -> int | None:
        """The peak of the last step, when optimizer state and caches exist."""
        return self.steps[-1].peak_allocated_bytes if len(self.steps) > 1 else None

    @property
    def seconds_per_step(self) -> float | None:
        """The median over the steps after the first; ``None`` on a phantom, or without such steps."""
        seconds = sorted(step.seconds for step in self.steps[1:] if step.seconds is not None)
        return seconds[len(seconds) // 2] if seconds else None

    def phase_peak_bytes(self, *phases: Phase) -> int | None:
        """The highest `allocated` within any of `phases`, over all steps."""
        peaks = [r.peak_allocated_bytes for step in self.steps for r in step.phases if r.phase in phases]
        return max(peaks, default=None)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one point ended and what was read until then; a child process sends it to its parent.

    `error` is one line, and ``None`` if and only if `status` is ok. `reading` is ``None`` if nothing was read.
    `allocator_requests` are the allocations and frees of the run, if they were recorded; if the run is out of memory,
    they end with the request that failed. `refused_requests` are the indices of those allocations that failed and
    that the run did without.
    """

    status: Status
    reading: Reading | None = None
    error: str | None = None
    allocator_requests: tuple[int, ...] | None = None
    refused_requests: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The versions and the device that a result depends on."""

    memprof_version: str
    python_version: str
    platform: str
    torch_version: str
    torchvision_version: str | None
    cuda_version: str | None
    cudnn_version: str | None
    driver_version: str | None
    gpu: str | None  # the catalog's name of a phantom, or the driver's name of a real GPU
    gpu_total_bytes: int | None
    source: Source
    allocator_settings: str | None
    git_commit: str | None = None
    address_order: str | None = None  # in which a phantom hands out addresses; of a real driver it is not known


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One point of a sweep or a comparison: its settings, the analytic estimate, the counters, and how it ended."""

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
    variant: str | None = None  # in a comparison, how it differs from the base; None in a sweep
    largest_batch_size: int | None = None  # that trains, 0 if none does; None if unknown or not searched for
    rank: int | None = None  # that ran, of several; None if one GPU trains the model
    world_size: int | None = None
    mesh: str | None = None  # its dimensions: "shard 8 × tensor 8"

    def __post_init__(self) -> None:
        """Refuse a batch without a sample.

        Raises:
            ValueError: `batch_size` is below 1.
        """
        if self.batch_size < 1:
            raise ValueError(f"batch_size {self.batch_size} is below 1")

    @property
    def difference_bytes(self) -> int | None:
        """Peak allocated minus the estimate: positive if the run took more than the estimate."""
        total = self.breakdown.estimate_bytes if self.breakdown else None
        if self.reading is None or total is None or self.status is not Status.OK:
            return None
        return self.reading.peak_allocated_bytes - total

    @property
    def difference_percent(self) -> float | None:
        """`difference_bytes` in percent of the estimate."""
        difference = self.difference_bytes
        total = self.breakdown.estimate_bytes if self.breakdown else None
        return 100.0 * difference / total if difference is not None and total else None


class StopReason(StrEnum):
    """Why a larger batch does not train, or was not tried."""

    MEMORY = "memory"  # of the GPU
    MEMORY_LIMIT = "memory_limit"  # of `torch.cuda.set_per_process_memory_fraction`
    GRID = "grid_limit"  # a kernel launch that is too large for CUDA
    INDEXING = "int32_indexing"  # a tensor too large for a kernel's 32-bit indices
    HOST_MEMORY = "host_memory"
    POINT_TIMEOUT = "timeout_seconds"  # the config's time limit per point
    ERROR = "error"  # anything else; the trial has the text
    MAX = "max"  # the search reached the largest batch that it may try
    TIME = "timeout"  # the search ran out of time, and its limit is not verified


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One batch size that ran, in its own process; the peaks are those until it ended."""

    batch_size: int
    status: Status
    peak_allocated_bytes: int | None
    peak_reserved_bytes: int | None
    device_bytes: int | None  # reserved plus the CUDA context: what NVML counts for this process
    seconds: float  # wall time, including the start of the process
    stop: StopReason | None  # None if it trains
    error: str | None = None

    @property
    def trains(self) -> bool:
        """Whether all steps ran."""
        return self.status is Status.OK


@dataclass(frozen=True, kw_only=True)
class MemoryFit:
    """The least-squares line of peak allocated bytes over batch size, through the trials that trained."""

    fixed_bytes: int
    bytes_per_sample: int
    residual_bytes: int  # the largest distance of a trial from the line


@dataclass(frozen=True, kw_only=True)
class Accumulation:
    """A target batch as equal micro-batches with accumulated gradients, and how its run ended."""

    target_batch_size: int
    micro_batch_size: int
    steps: int
    status: Status


@dataclass(frozen=True, kw_only=True)
class MaxBatch:
    """The largest batch of one config on one GPU, and the trials that verify it."""

    gpu: str
    source: Source
    model: str
    optimizer: str | None
    gpu_total_bytes: int | None
    memory_limit_bytes: int | None
    multiple_of: int
    largest_batch_size: int  # 0 if not even one sample trains
    verified: bool  # the largest trains and the next one does not
    stopped_by: StopReason
    batch_size_at_80_percent_memory: int | None
    confirmed: Status | None  # of a run at the safe batch size; None if it did not run
    fit: MemoryFit | None
    free_bytes: int | None  # of the limit or the GPU, when the largest batch runs
    smallest_footprint_bytes: int | None  # device memory of the smallest batch, if that does not fit
    trials: tuple[Trial, ...]
    more_trials: tuple[Trial, ...]  # for the batch at 80 % of the memory
    target_batch: Accumulation | None = None  # None if not requested, or if no batch trains
    parallel: str | None = None  # the rank and the mesh; None if one GPU trains the model
    evaluates: bool = True  # whether the run at the safe batch size ends with an evaluation pass
    zeros_read: int | None = None  # unknown values that the model read on a phantom, in all trials
    communicators: int | None = None  # of NCCL, on this rank
    nccl_bytes: int | None = None  # of all communicators, within the context; None if unknown: then not counted

    @property
    def safe_batch_size(self) -> int | None:
        """80 % of the largest, rounded down to a multiple of `multiple_of`: headroom for fragmentation.

        ``None`` if the limit was not searched, or if 80 % of it is less than `multiple_of`.
        """
        return (safe_batch_size(self.largest_batch_size, self.multiple_of) or None) if self.verified else None


def safe_batch_size(largest: int, multiple_of: int) -> int:
    """Return 80 % of the largest batch size, rounded down to a multiple of `multiple_of`."""
    return largest * 8 // 10 // multiple_of * multiple_of
