"""Nouns that several tests need and that no run made."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from profiler.records import Environment, Source

_ENVIRONMENT = Environment(
    memprof_version="0.1.0",
    python_version="3.11.7",
    platform="Linux-x86_64",
    torch_version="2.14.1",
    torchvision_version=None,
    cuda_version="13.0",
    cudnn_version="9.24.0",
    driver_version=None,
    gpu="h100-80gb",
    gpu_total_bytes=85_017_493_504,
    source=Source.EMULATED,
    allocator_settings=None,
)


def sample_environment(**changes: Any) -> Environment:
    """The circumstances of a sweep on a phantom H100, with `changes`."""
    return replace(_ENVIRONMENT, **changes)
