"""Why a batch size does not train, from the error of its trial. The texts are those of PyTorch and CUDA."""

from __future__ import annotations

import re

from memprof.records import Outcome, Status, StopReason

# cudaErrorInvalidConfiguration: a grid of more than 65,535 blocks in y or z, or 2**31 - 1 in x (CUDA C++ Programming
# Guide, table "Technical Specifications per Compute Capability").
_GRID = re.compile(
    r"invalid configuration argument|cudaErrorInvalidConfiguration|65,?535|too many blocks", re.IGNORECASE
)
# The assertion is that of TensorIterator.cpp's `get_dim_to_split`: no dimension is left to split for 32-bit indices.
_INDEXING = re.compile(
    r"canUse32BitIndexMath|32-?bit index|INT_MAX|2147483647|numel.*(?:exceed|too large|less than)|"
    r"shape\(\)\[dim\] >= 2 INTERNAL ASSERT|"
    r"(?:exceed|overflow|too large|out of range).*\b(?:int|int32)\b",
    re.IGNORECASE,
)
_HOST_MEMORY = re.compile(
    r"DefaultCPUAllocator|can't allocate memory|cannot allocate memory|MemoryError|bad_alloc", re.IGNORECASE
)


def find_stop(outcome: Outcome, limited: bool) -> StopReason | None:
    """Return why a trial failed, ``None`` if it trained. `limited`: PyTorch's allocator had its own limit."""
    text = outcome.error or ""
    match outcome.status:
        case Status.OK:
            return None
        case Status.OOM:
            return StopReason.MEMORY_LIMIT if limited else StopReason.MEMORY
        case Status.TIMEOUT:
            return StopReason.POINT_TIMEOUT
        case Status.KILLED:
            return StopReason.HOST_MEMORY if "SIGKILL" in text else StopReason.ERROR
        case Status.ERROR:
            return _of_error(text)


def _of_error(text: str) -> StopReason:
    for pattern, stop in (
        (_HOST_MEMORY, StopReason.HOST_MEMORY),
        (_GRID, StopReason.GRID),
        (_INDEXING, StopReason.INDEXING),
    ):
        if pattern.search(text):
            return stop
    return StopReason.ERROR
