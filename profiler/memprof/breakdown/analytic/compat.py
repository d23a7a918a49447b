"""What torch 2.9 lacks for stand-ins where there is no CUDA driver; newer ones have it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

# The name of torch's table of what it asks of each type of device, and two of its rows: c10/core/DeviceType.h.
_GUARDS, _CUDA, _META = "_ZN3c104impl26device_guard_impl_registryE", 1, 14


@contextmanager
def without_driver() -> Iterator[None]:
    """Let autograd and convolutions of stand-ins ask nothing of a CUDA driver. Newer torch is left as it is."""
    library = next((Path(torch.__file__).parent / "lib").glob("libc10.*"), None)
    if hasattr(torch._C, "_ensureCUDADeviceGuardSet") or library is None:
        yield
        return
    with _without_streams(library), _without_properties():
        yield


@contextmanager
def _without_streams(library: Path) -> Iterator[None]:
    """Put meta tensors' row in place of CUDA's, which for the current stream ends a process without a driver."""
    guards = (ctypes.c_void_p * (_META + 1)).in_dll(ctypes.CDLL(str(library)), _GUARDS)
    before, guards[_CUDA] = guards[_CUDA], guards[_META]
    try:
        yield
    finally:
        guards[_CUDA] = before


@contextmanager
def _without_properties() -> Iterator[None]:
    """Take cuDNN for the convolutions whose kernel depends on a GPU's properties, those in half precision."""
    choose = torch._C._select_conv_backend

    def choose_or_cudnn(*args: Any, **kwargs: Any) -> Any:
        try:
            return choose(*args, **kwargs)
        except torch.AcceleratorError:  # no driver to ask
            return torch._C._ConvBackend.Cudnn  # type: ignore[attr-defined]

    torch._C._select_conv_backend = choose_or_cudnn
    try:
        yield
    finally:
        torch._C._select_conv_backend = choose
