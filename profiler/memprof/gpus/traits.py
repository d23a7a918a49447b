"""What an estimate needs to know of a GPU. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, replace

from memprof.gpus.catalog import DEFAULT_GPU, find_gpu, load_catalog
from memprof.gpus.spec import GpuSpec


@dataclass(frozen=True, kw_only=True)
class GpuTraits:
    """The figures of a GPU that decide how large PyTorch's workspaces and buffers are."""

    compute_capability: str  # "9.0"
    multiprocessors: int
    threads_per_multiprocessor: int

    @property
    def major(self) -> int:
        """The first number of the compute capability."""
        return int(self.compute_capability.partition(".")[0])


def traits_of(spec: GpuSpec) -> GpuTraits:
    """Return the traits of a GPU of the catalog."""
    return GpuTraits(
        compute_capability=spec.compute_capability,
        multiprocessors=spec.multiprocessors,
        threads_per_multiprocessor=spec.max_threads_per_multiprocessor,
    )


def default_traits() -> GpuTraits:
    """Return the traits of the default GPU, for an estimate without any GPU."""
    return traits_of(find_gpu(DEFAULT_GPU))


def real_traits(name: str, compute_capability: str) -> GpuTraits:
    """Return the traits of a real GPU: those of its name in the catalog, else of one with its compute capability.

    NVML reports no number of multiprocessors, and CUDA would create a context to report it.
    """
    specs = list(load_catalog().values())
    for spec in (*(one for one in specs if one.name == name), *specs):
        if spec.compute_capability == compute_capability:
            return traits_of(spec)
    return replace(default_traits(), compute_capability=compute_capability)
