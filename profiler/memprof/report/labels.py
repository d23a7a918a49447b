"""Words that the terminal, the plots and the page share: sources, GPUs, memory levels, parts and stop reasons."""

from __future__ import annotations

from collections.abc import Mapping

from memprof.breakdown.explanation import CACHED, CONTEXT, OTHER_PROCESSES, ROUNDING, Category
from memprof.records import MaxBatch, Source, StopReason

SOURCE_MEANINGS: Mapping[Source, str] = {
    Source.MEASURED: "counters of PyTorch and the driver on a real GPU",
    Source.EMULATED: "PyTorch's counters on a simulated GPU (phantom); kernels do not run",
    Source.ANALYTIC: "estimated from shapes and dtypes; no GPU was used, real or phantom",
}
MONITOR_MEANINGS: Mapping[Source, str] = {
    Source.MEASURED: "NVML, as nvidia-smi counts; the peak is the highest sample",
    Source.EMULATED: "the phantom's own count; the peak is exact, also between samples",
}
ANALYTIC_ESTIMATE = (
    "The analytic estimate runs the step on shapes alone, and adds up the blocks that exist at the same time. It has "
    "no workspaces of cuDNN. The textbook sum is parameters, gradients, optimizer state, "
    "data and the model's own activations."
)
LEVEL_MEANINGS: Mapping[str, str] = {
    "requested": "bytes requested by tensors",
    "allocated": "torch.cuda.max_memory_allocated",
    "reserved": "torch.cuda.max_memory_reserved",
    "device": "NVML, what nvidia-smi shows",
    ROUNDING: "to blocks of 512 B, or whole segments",
    CACHED: "cached by the allocator, unused",
    CONTEXT: "CUDA itself: driver, libraries, kernels",
}
STOP_REASONS: Mapping[StopReason, str] = {
    StopReason.MEMORY: "GPU memory",
    StopReason.MEMORY_LIMIT: "the memory limit (set_per_process_memory_fraction)",
    StopReason.GRID: "CUDA's limit on a kernel's grid, not memory",
    StopReason.INDEXING: "32-bit indexing in a kernel, not memory",
    StopReason.HOST_MEMORY: "host memory, not GPU memory",
    StopReason.POINT_TIMEOUT: "timeout_seconds, not memory",
    StopReason.ERROR: "an error, not memory",
    StopReason.MAX: "the limit that you set (--max)",
    StopReason.TIME: "the time limit of the search (--timeout)",
}
_LATER = "when NVML was read, after the peak"
_PART_NAMES = {"device": "used on the device"}  # the others are their keys, without the underscores
_SHORT_NAMES = {Category.OPTIMIZER_STATE.value: "opt. state", OTHER_PROCESSES: "others"}


def source_note(source: Source) -> str:
    """Return one line that says where figures of this source come from: ``measured: counters of …``."""
    return f"{source.value}: {SOURCE_MEANINGS[source]}."


def confirming_run(answer: MaxBatch) -> str:
    """What ran at the safe batch size."""
    return "five steps plus evaluation" if answer.evaluates else "five steps"


def gpu_label(name: str, source: Source | str | None) -> str:
    """Return the GPU's name, marked where it is emulated: ``t4 (phantom)``."""
    return f"{name} (phantom)" if source == Source.EMULATED else name


def level_meaning(name: str) -> str:
    """Return what a memory level, or what is added on the way to one, counts."""
    return LEVEL_MEANINGS.get(name, _LATER)


def part_name(name: str) -> str:
    """Return the name of a memory level or a part of one in words: ``optimizer state``."""
    return _PART_NAMES.get(name, name.replace("_", " "))


def short_part_name(name: str) -> str:
    """Return the same for the heading of a narrow column: ``opt. state``."""
    return _SHORT_NAMES.get(name, part_name(name))


def ordinal(number: int) -> str:
    """Return an English ordinal: ``1st``, ``2nd``, ``11th``."""
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"
