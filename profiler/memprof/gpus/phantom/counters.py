"""What PyTorch's caching allocator counted in each process of a run; `csrc/counters_torch.c` writes the file."""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from memprof.gpus.phantom.build import PhantomLibraries
from memprof.gpus.phantom.ledger import ledger_folder

_GPUS = 16
_PROCESSES = 256
_UNCOUNTED = struct.Struct("=Q")
_PROCESS = struct.Struct(f"=qq{4 * _GPUS}Q")  # process id, rank, and the counters of each GPU
_VARIABLE = "MEMPROF_COUNTERS"


@dataclass(frozen=True, kw_only=True)
class TorchCounters:
    """The peaks of PyTorch's allocator in one process on one GPU, as `torch.cuda.max_memory_allocated` counts."""

    gpu: int  # its index in the machine
    pid: int
    rank: int | None  # of torchrun
    peak_allocated_bytes: int
    peak_reserved_bytes: int
    refusals: int  # requests for which the GPU had no memory
    wanted_bytes: int | None  # the most that would have been reserved with one of them


@contextmanager
def new_counters() -> Iterator[Path]:
    """Yield an empty file for the counters of one run; it is removed at the end."""
    prefix = f"run-{os.getpid()}-"
    with tempfile.NamedTemporaryFile(prefix=prefix, suffix=".counters", dir=ledger_folder()) as file:
        yield Path(file.name)


def counters_environment(libraries: PhantomLibraries, file: Path, preloaded: str) -> Mapping[str, str]:
    """Return the variables with which processes write into `file`; `preloaded` is the LD_PRELOAD of the phantom."""
    return {"LD_PRELOAD": f"{libraries.torch}:{preloaded}", _VARIABLE: str(file)}


def read_counters(file: Path) -> tuple[TorchCounters, ...]:
    """Return the counters of each process and each GPU on which it used memory, in the order of their first use."""
    content = file.read_bytes()[_UNCOUNTED.size :]
    rows = _PROCESS.iter_unpack(content[: len(content) // _PROCESS.size * _PROCESS.size])
    return tuple(found for pid, rank, *figures in rows if pid for found in _of_process(pid, rank, figures))


def count_uncounted(file: Path) -> int:
    """Return how many processes used PyTorch on a GPU and found no place in `file`."""
    content = file.read_bytes()[: _UNCOUNTED.size]
    return int(_UNCOUNTED.unpack(content)[0]) if content else 0


def _of_process(pid: int, rank: int, figures: list[int]) -> Iterator[TorchCounters]:
    for gpu in range(_GPUS):
        allocated, reserved, refusals, wanted = figures[4 * gpu : 4 * gpu + 4]
        if reserved or refusals:
            yield TorchCounters(
                gpu=gpu,
                pid=pid,
                rank=rank if rank >= 0 else None,
                peak_allocated_bytes=allocated,
                peak_reserved_bytes=reserved,
                refusals=refusals,
                wanted_bytes=wanted if refusals else None,
            )
