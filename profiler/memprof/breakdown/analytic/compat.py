"""Let fake CUDA tensors work without a CUDA driver in torch 2.9; newer versions need no help."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from memprof.gpus.phantom.environment import runs_on_phantom

# The symbol of torch's table of device guards, and two of its indices: c10/core/DeviceType.h.
_GUARDS, _CUDA, _META = "_ZN3c104impl26device_guard_impl_registryE", 1, 14


@contextmanager
def without_driver() -> Iterator[None]:
    """Keep autograd and convolutions of fake tensors from calling a CUDA driver; newer torch needs no change.

    No backward pass runs then: it asks for events, which meta tensors do not have. A phantom's driver may be called.
    """
    library = next((Path(torch.__file__).parent / "lib").glob("libc10.*"), None)
    if hasattr(torch._C, "_ensureCUDADeviceGuardSet") or library is None or runs_on_phantom():
        yield
        return
    with _without_streams(library), _without_properties():
        yield


@contextmanager
def _without_streams(library: Path) -> Iterator[None]:
    """Use the guard of meta tensors for CUDA: without a driver, CUDA's own aborts when asked for the stream."""
    guards = (ctypes.c_void_p * (_META + 1)).in_dll(ctypes.CDLL(str(library)), _GUARDS)
    before, guards[_CUDA] = guards[_CUDA], guards[_META]
    try:
        yield
    finally:
        guards[_CUDA] = before


@contextmanager
def _without_properties() -> Iterator[None]:
    """Select cuDNN for convolutions whose kernel depends on the GPU's properties (half precision)."""
    choose = torch._C._select_conv_backend

    def choose_or_cudnn(*args: Any, **kwargs: Any) -> Any:
        try:
            return choose(*args, **kwargs)
        except torch.AcceleratorError:  # there is no driver
            return torch._C._ConvBackend.Cudnn  # type: ignore[attr-defined]

    torch._C._select_conv_backend = choose_or_cudnn
    try:
        yield
    finally:
        torch._C._select_conv_backend = choose
