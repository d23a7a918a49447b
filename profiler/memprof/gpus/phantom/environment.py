"""The environment variables that give a process a phantom GPU. Nothing else of the process changes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path

from memprof.allocator.address_order import AddressPolicy
from memprof.gpus.phantom.build import PhantomLibraries
from memprof.gpus.phantom.ledger import own_ledgers, shared_ledger
from memprof.gpus.spec import GpuSpec

_PHANTOM = "MEMPROF_PHANTOM"
_ADDRESSES = "MEMPROF_PHANTOM_ADDRESSES"
_QUEUE = "MEMPROF_PHANTOM_QUEUE"
_CUDA = "MEMPROF_PHANTOM_CUDA"  # the version of the installed CUDA, which `cuda_version.c` reads
_DESCRIBED = (
    "name", "compute_capability", "multiprocessors", "total_bytes", "nvml_total_bytes", "context_bytes",
    "kernels_bytes", "cublas_bytes",
    "cudnn_bytes", "l2_cache_bytes",
    "shared_memory_per_block_bytes", "shared_memory_per_block_optin_bytes",
    "shared_memory_per_multiprocessor_bytes", "reserved_shared_memory_per_block_bytes", "registers_per_block",
    "registers_per_multiprocessor", "max_threads_per_multiprocessor", "max_blocks_per_multiprocessor",
    "clock_khz", "memory_clock_khz", "memory_bus_bits",
)  # fmt: skip


def phantom_environment(
    libraries: PhantomLibraries, spec: GpuSpec, *, devices: int = 1, ledger: Path | None = None
) -> Mapping[str, str]:
    """Return the variables to add to a child's environment so that its GPUs are `devices` phantoms of `spec`.

    `ledger` is a file in which all processes of one run share the phantom's memory; without it each process has its own
    phantom, whose ledger `memprof monitor` finds. The user's CUDA_VISIBLE_DEVICES is left as it is: it selects among
    phantoms as it does among real GPUs.
    """
    return {
        "LD_PRELOAD": _in_front(str(libraries.preload), "LD_PRELOAD"),
        "LD_LIBRARY_PATH": _in_front(str(libraries.folder), "LD_LIBRARY_PATH"),
        _PHANTOM: describe_gpu(spec, devices),
        **({_CUDA: str(libraries.cuda_version)} if libraries.cuda_version else {}),
        "TRITON_LIBCUDA_PATH": str(libraries.folder),
        **(own_ledgers() if ledger is None else shared_ledger(ledger)),
    }


def worker_environment(libraries: PhantomLibraries, spec: GpuSpec) -> Mapping[str, str]:
    """Return the variables of `phantom_environment` for memprof's own processes, whose one phantom is always visible.

    CUDA_VISIBLE_DEVICES in the user's shell is meant for the real GPUs: it may hide all of them or name only the third.
    The phantom of a sweep is chosen by its name, so the variable is replaced.
    """
    return {**phantom_environment(libraries, spec), "CUDA_VISIBLE_DEVICES": "0"}


def runs_on_phantom() -> bool:
    """Return whether the GPUs of this process are phantoms."""
    return bool(os.environ.get(_PHANTOM))


def describe_gpu(spec: GpuSpec, devices: int = 1) -> str:
    """Return `spec` as the value of MEMPROF_PHANTOM, which `device.c` reads."""
    figures = asdict(spec)
    pairs = (f"{key}={figures[key]}" for key in _DESCRIBED if figures[key] is not None)
    return ";".join([*pairs, f"devices={devices}"])


def address_environment(policy: AddressPolicy) -> Mapping[str, str]:
    """Return the variable that sets a phantom's order of addresses; it must be set before CUDA is first used."""
    return {_ADDRESSES: policy.value}


class Timing(StrEnum):
    """How far a phantom is behind the host: `stream_table.c` explains what the program can see of it."""

    BUSY = "busy GPU"  # work is done when the host waits for it, or when the queue is full: the default
    IDLE = "idle GPU"  # work is done at once


def timing_environment(timing: Timing) -> Mapping[str, str]:
    """Return the variable that sets how much requested work may be pending on a phantom."""
    return {_QUEUE: "0"} if timing is Timing.IDLE else {}


def address_policy() -> AddressPolicy:
    """Return the order of addresses of a phantom that this process starts: the user's own choice, or the default."""
    chosen = os.environ.get(_ADDRESSES)
    return AddressPolicy(chosen) if chosen in list(AddressPolicy) else AddressPolicy.DRIVER


def _in_front(path: str, variable: str) -> str:
    others = os.environ.get(variable)
    return f"{path}:{others}" if others else path
