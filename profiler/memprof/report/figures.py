"""The figures of a record: the key in results.csv, the heading of the column, and what the figure counts.

The tables of the terminal and of the page take their columns from here, so that one figure has one name everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from memprof.records import RunRecord, Source, Status
from memprof.results import row
from memprof.units import MIB, format_bytes

# An estimate below one cuBLAS workspace (8,519,680 B: `parseChosenWorkspaceSize` in PyTorch's
# aten/src/ATen/cuda/CublasHandlePool.cpp) is that of a tiny model without matrix products. The workspaces of cuDNN,
# which no estimate has, can be several times as much, and a percentage would say nothing about the model.
LEAST_ESTIMATE_BYTES = 8 * MIB


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure of a record, in bytes unless `counts` says otherwise."""

    key: str
    heading: str
    counts: str
    short: str = ""

    @property
    def short_heading(self) -> str:
        """The heading of a narrow column."""
        return self.short or self.heading


PARAMETERS = Figure(key="parameters_bytes", heading="parameters", counts="the model's parameters")
BUFFERS = Figure(key="buffers_bytes", heading="buffers", counts="the model's buffers, such as running means")
GRADIENTS = Figure(key="gradients_bytes", heading="gradients", counts="one gradient for each trainable parameter")
OPTIMIZER_STATE = Figure(
    key="optimizer_state_bytes",
    heading="optimizer state",
    counts="what the optimizer keeps between steps",
    short="opt. state",
)
INPUT = Figure(key="input_bytes", heading="input", counts="the batch: inputs and targets")
ACTIVATIONS = Figure(key="activations_bytes", heading="activations", counts="what autograd saves for backward")
WORKSPACE = Figure(key="workspace_bytes", heading="workspace", counts="the workspaces of cuBLAS")
SUM = Figure(key="analytic_total_bytes", heading="sum", counts="the sum of the seven analytic categories before it")
TEXTBOOK = Figure(
    key="textbook_total_bytes",
    heading="textbook",
    counts="parameters, gradients, optimizer state, data and the model's own activations",
)
ESTIMATE = Figure(
    key="analytic_peak_bytes", heading="estimate", counts="the highest sum of blocks that exist at the same time"
)
RESUME_PEAK = Figure(
    key="resume_peak_bytes", heading="resume", counts="highest allocated while the checkpoint is loaded"
)
LOAD_PEAK = Figure(key="load_peak_bytes", heading="load", counts="highest allocated while the batch is loaded")
FORWARD_PEAK = Figure(key="forward_peak_bytes", heading="forward", counts="highest allocated in forward and loss")
BACKWARD_PEAK = Figure(key="backward_peak_bytes", heading="backward", counts="highest allocated in backward")
OPTIMIZER_PEAK = Figure(key="optimizer_peak_bytes", heading="optimizer", counts="highest allocated in optimizer.step")
EVALUATION_PEAK = Figure(
    key="evaluation_peak_bytes", heading="evaluation", counts="highest allocated in the evaluation between two epochs"
)
PEAK = Figure(
    key="peak_allocated_bytes", heading="peak", counts="torch.cuda.max_memory_allocated: bytes in tensors' blocks"
)
RESERVED = Figure(
    key="peak_reserved_bytes",
    heading="reserved",
    counts="torch.cuda.max_memory_reserved: allocated, and what the allocator caches",
)
NVML_USED = Figure(key="nvml_used_bytes", heading="NVML", counts="what nvidia-smi shows: reserved and the CUDA context")
DIFFERENCE = Figure(
    key="difference_bytes", heading="peak − estimate", counts="workspaces of cuDNN, and buffers within kernels"
)
SECONDS = Figure(key="seconds_per_step", heading="s/step", counts="median seconds of a step after the first")
LARGEST_BATCH = Figure(
    key="largest_batch_size", heading="largest batch", counts="the largest batch size that trains", short="batch"
)

CATEGORIES = (PARAMETERS, BUFFERS, GRADIENTS, OPTIMIZER_STATE, INPUT, ACTIVATIONS, WORKSPACE)  # they add up to SUM
COMPARED_CATEGORIES = (PARAMETERS, GRADIENTS, OPTIMIZER_STATE, ACTIVATIONS)  # those that a setting changes
PHASE_PEAKS = (RESUME_PEAK, LOAD_PEAK, FORWARD_PEAK, BACKWARD_PEAK, OPTIMIZER_PEAK, EVALUATION_PEAK)
READINGS = (PEAK, RESERVED, NVML_USED)
FIGURES: Mapping[str, Figure] = {
    figure.key: figure
    for figure in (*CATEGORIES, SUM, TEXTBOOK, ESTIMATE, *PHASE_PEAKS, *READINGS, DIFFERENCE, SECONDS, LARGEST_BATCH)
}


def main_figure(source: Source) -> Figure:
    """Return the figure by which records are compared: the peak, or the estimate if nothing ran."""
    return ESTIMATE if source is Source.ANALYTIC else PEAK


def bytes_of(record: RunRecord, figure: Figure) -> int | None:
    """Return a figure of a record in bytes; ``None`` if it is unknown."""
    value = row(record)[figure.key]
    return value if isinstance(value, int) else None


def bound_text(value_bytes: int | None, status: Status) -> str:
    """Return a peak in words. That of a run that did not finish is a lower bound of its need: ``> 14.40 GiB``."""
    text = format_bytes(value_bytes)
    if status is Status.OK or value_bytes is None:
        return text
    return f"> {text}" if status is Status.OOM else f"≥ {text}"


def difference_percent(record: RunRecord) -> float | None:
    """Return `DIFFERENCE` in per cent of the estimate; ``None`` if the estimate is below `LEAST_ESTIMATE_BYTES`."""
    return None if has_tiny_estimate(record) else record.difference_percent


def has_tiny_estimate(record: RunRecord) -> bool:
    """Say whether the estimate is too small for a percentage of it to mean anything."""
    total = record.breakdown.estimate_bytes if record.breakdown else None
    return total is not None and total < LEAST_ESTIMATE_BYTES
