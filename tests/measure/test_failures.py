"""Running out of device memory is distinguished from every other error, and each reason is one line."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

from memprof.errors import WorkloadError
from memprof.measure.failures import classify, describe, is_out_of_memory
from memprof.records import Status


def test_classify_torch_oom_drops_advice() -> None:
    message = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 1.00 GiB."
    advice = " If reserved but unallocated memory is large try setting PYTORCH_CUDA_ALLOC_CONF=...\nMore."
    status, reason = classify(torch.OutOfMemoryError(message + advice), "backward of step 2")
    assert status is Status.OOM
    assert reason == f"backward of step 2: {message}"


def test_is_out_of_memory_by_cuda_error_code() -> None:
    error = torch.AcceleratorError("CUDA error: out of something")
    assert not is_out_of_memory(error)
    vars(error)["error_code"] = 700  # cudaErrorIllegalAddress
    assert not is_out_of_memory(error)
    vars(error)["error_code"] = 2  # cudaErrorMemoryAllocation
    assert is_out_of_memory(error)


def test_is_out_of_memory_by_library_status() -> None:
    for status in ("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"):
        assert is_out_of_memory(RuntimeError(f"CUDA error: {status} when calling `create(handle)`"))
    assert not is_out_of_memory(RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"))


def test_out_of_memory_that_another_error_was_raised_from() -> None:
    error = RuntimeError("[Stage 1] failed to run forward:\nargs: x")
    error.__cause__ = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    assert classify(error, "pipeline") == (Status.OOM, f"pipeline: {error.__cause__}")
    error.__cause__ = ValueError("no")
    reason = "pipeline: RuntimeError: [Stage 1] failed to run forward: ValueError: no"
    assert classify(error, "pipeline") == (Status.ERROR, reason)


def test_classify_host_oom_is_error() -> None:
    assert classify(MemoryError(), "setup") == (Status.ERROR, "setup: MemoryError")
    text = "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"
    assert classify(RuntimeError(text), "setup")[0] is Status.ERROR


def test_describe_names_line_of_user_code(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("import torch\n\ntorch.nn.Linear(2, 2)(torch.zeros(3))\n")
    with pytest.raises(RuntimeError) as caught:
        runpy.run_path(str(tmp_path / "own.py"))
    assert describe(caught.value).startswith("RuntimeError: ")
    assert describe(caught.value).endswith(f"({tmp_path / 'own.py'}:3)")


def test_describe_uses_first_non_empty_line() -> None:
    assert describe(ValueError("\n  too wide\nby far")) == "ValueError: too wide"
    assert describe(KeyError()) == "KeyError"
    assert describe(WorkloadError("optimizer 'adma' is unknown; did you mean adam?")) == (
        "optimizer 'adma' is unknown; did you mean adam?"
    )
