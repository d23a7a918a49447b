"""Classify exceptions of a training step: out of device memory, or an error with its line."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path

import torch

from memprof.errors import MemprofError
from memprof.records import Status

# cudaErrorMemoryAllocation, https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html
_CUDA_ERROR_MEMORY_ALLOCATION = 2
# Errors of libraries that allocate memory themselves, as PyTorch quotes them in a plain RuntimeError.
_LIBRARY_OUT_OF_MEMORY = (
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "CUFFT_ALLOC_FAILED",
    "CUSOLVER_STATUS_ALLOC_FAILED",
    "CUSPARSE_STATUS_ALLOC_FAILED",
)
_ADVICE = " If reserved but unallocated memory is large"


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether `error`, or what it was raised from, means that the device, not the host, ran out of memory."""
    return any(_says_out_of_memory(one) for one in _with_causes(error))


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield `error` and what it was raised from: PyTorch's pipelines raise their own errors from those of a stage."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__


def _says_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError):
        return True
    if getattr(error, "error_code", None) == _CUDA_ERROR_MEMORY_ALLOCATION:
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _LIBRARY_OUT_OF_MEMORY)


def classify(error: Exception, stage: str) -> tuple[Status, str]:
    """Return the status and the one-line reason of a point that ended with `error` during `stage`."""
    lacking = next((one for one in _with_causes(error) if _says_out_of_memory(one)), None)
    if lacking is not None:
        return Status.OOM, f"{stage}: {_first_line(lacking).partition(_ADVICE)[0]}"
    return Status.ERROR, f"{stage}: {describe(error)}"


def describe(error: BaseException) -> str:
    """Return `error` on one line: type, message and, if the user's code is on the stack, its file and line."""
    if isinstance(error, MemprofError):
        return _first_line(error)
    text = ": ".join(part for part in (type(error).__name__, _first_line(error)) if part)
    if text.endswith(":") and error.__cause__ is not None:  # PyTorch's pipelines: "[Stage 1] failed to run forward:"
        return f"{text} {describe(error.__cause__)}"
    line = _users_line(error)
    return f"{text} ({line})" if line else text


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")


def _users_line(error: BaseException) -> str | None:
    paths = sysconfig.get_paths()
    installed = (paths["stdlib"], paths["purelib"], paths["platlib"], str(Path(__file__).parents[1]), "<")
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(installed):
            return f"{frame.filename}:{frame.lineno}"
    return None
