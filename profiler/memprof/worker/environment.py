"""The environment of a run, as the process that runs it sees it."""

from __future__ import annotations

import os
import platform
from importlib import metadata

import torch

from memprof._version import __version__
from memprof.gpus.nvml import open_nvml
from memprof.gpus.phantom.environment import address_policy
from memprof.records import Environment, Source
from memprof.worker.protocol import Setup

ALLOCATOR_VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")  # PyTorch prefers the first, which is newer


def describe_environment(setup: Setup) -> Environment:
    """Return versions, GPU and settings; this initializes CUDA unless the source is analytic.

    Raises:
        RuntimeError: CUDA cannot be initialized.
    """
    gpu, total_bytes, driver = None, setup.gpu_total_bytes, None
    if setup.source is not Source.ANALYTIC:
        device = torch.device("cuda", setup.index)
        properties = torch.cuda.get_device_properties(device)
        nvml = open_nvml(properties)
        total_bytes, driver = properties.total_memory, nvml.driver_version() if nvml else None
        gpu = properties.name if setup.source is Source.MEASURED else setup.gpu
    return Environment(
        memprof_version=__version__,
        python_version=platform.python_version(),
        platform=platform.platform(),
        torch_version=torch.__version__,
        torchvision_version=_version("torchvision"),
        cuda_version=torch.version.cuda,
        cudnn_version=_cudnn_version(),
        driver_version=driver,
        gpu=gpu,
        gpu_total_bytes=total_bytes,
        source=setup.source,
        allocator_settings=next((os.environ[name] for name in ALLOCATOR_VARIABLES if os.environ.get(name)), None),
        address_order=address_policy().value if setup.source is Source.EMULATED else None,
    )


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _cudnn_version() -> str | None:
    try:
        number = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    except RuntimeError:  # the loaded cuDNN is not the one that PyTorch was built with
        return None
    if number is None:
        return None
    # CUDNN_VERSION in cudnn_version.h: major x 10000 + minor x 100 + patch; before version 9, major x 1000.
    major = 10_000 if number >= 90_000 else 1_000
    return f"{number // major}.{number % major // 100}.{number % 100}"
