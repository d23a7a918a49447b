"""What is known of one GPU: the figures that a phantom reports."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ArchitectureLimits:
    """Limits that depend only on the compute capability. Source: the CUDA Programming Guide, Compute Capabilities."""

    shared_memory_per_block_bytes: int
    shared_memory_per_block_optin_bytes: int
    shared_memory_per_multiprocessor_bytes: int
    reserved_shared_memory_per_block_bytes: int
    registers_per_block: int  # of 32 bits
    registers_per_multiprocessor: int
    max_threads_per_multiprocessor: int
    max_blocks_per_multiprocessor: int


@dataclass(frozen=True, kw_only=True)
class GpuSpec(ArchitectureLimits):
    """One GPU of the catalog.

    `total_bytes` is what `torch.cuda.get_device_properties` reports, `nvml_total_bytes` what nvidia-smi reports,
    `context_bytes` what a CUDA context takes before anything is allocated; the three after it are what the first kernel
    of PyTorch, of cuBLAS and of cuDNN adds, `None` if nobody measured it: a phantom then adds nothing. `sources` are
    public titles and addresses; `assumed` names the figures that have no source, `calibrated` those that `memprof
    calibrate` measured on the user's own GPU.
    """

    key: str  # the catalog's name
    name: str  # as the driver reports it
    kind: str | None = None  # GeForce, workstation or data center; None in a user's own file
    year: int | None = None  # in which it was announced
    compute_capability: str  # "8.0"
    multiprocessors: int
    total_bytes: int
    nvml_total_bytes: int | None = None
    l2_cache_bytes: int
    clock_khz: int
    memory_clock_khz: int  # half the data rate, as the driver counts it
    memory_bus_bits: int
    context_bytes: int
    kernels_bytes: int | None = None
    cublas_bytes: int | None = None
    cudnn_bytes: int | None = None
    sources: tuple[str, ...]
    assumed: tuple[str, ...]
    calibrated: tuple[str, ...] = ()

    @property
    def capability(self) -> tuple[int, int]:
        """The compute capability as `torch.cuda.get_device_capability` gives it: major, minor."""
        major, minor = self.compute_capability.split(".")
        return int(major), int(minor)

    @property
    def context_is_assumed(self) -> bool:
        """Whether the size of the CUDA context has no source."""
        return "context_bytes" in self.assumed

    @property
    def driver_reserved_bytes(self) -> int | None:
        """What `nvmlMemory_v2` calls reserved: nvidia-smi's total minus PyTorch's, `None` if unknown."""
        return None if self.nvml_total_bytes is None else self.nvml_total_bytes - self.total_bytes
