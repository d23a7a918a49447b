"""Runners must agree: figures of different versions or GPUs do not belong into one result."""

from __future__ import annotations

import platform
from dataclasses import asdict

from memprof._version import __version__
from memprof.engines.runner import Hello
from memprof.errors import DeviceError
from memprof.records import Environment

_NAMES = {
    "memprof_version": "memprof",
    "python_version": "Python",
    "torch_version": "torch",
    "torchvision_version": "torchvision",
    "cuda_version": "CUDA",
    "cudnn_version": "cuDNN",
    "driver_version": "driver",
    "gpu": "GPU",
    "gpu_total_bytes": "bytes of GPU memory",
    "source": "source",
    "allocator_settings": "allocator settings",
}


def check_hello(hello: Hello) -> None:
    """Check that a runner has this process's versions, which the messages between them depend on.

    Raises:
        DeviceError: it has others.
    """
    own = Hello(node="", memprof_version=__version__, python_version=platform.python_version())
    _check(asdict(own), asdict(hello), hello.node, "this machine")


def check_environment(first: Environment, other: Environment, node: str, first_node: str) -> None:
    """Check that two runners measure alike.

    Raises:
        DeviceError: they do not; the text names what differs, and where.
    """
    _check(asdict(first), asdict(other), node, first_node)


def _check(first: dict[str, object], other: dict[str, object], node: str, first_node: str) -> None:
    unlike = [key for key in _NAMES if key in first and first[key] != other[key]]
    if unlike:
        theirs = ", ".join(f"{_NAMES[key]} {_shown(other[key])}" for key in unlike)
        ours = ", ".join(f"{_shown(first[key])}" for key in unlike)
        raise DeviceError(
            f"{node} has {theirs}, and {first_node} has {ours}: results would mix; install the same on all machines"
        )


def _shown(value: object) -> str:
    return "none" if value is None else str(value)
