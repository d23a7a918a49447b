"""The workspaces of cuBLAS and cuBLASLt, whose sizes PyTorch documents.

PyTorch gives each cuBLAS handle a workspace from its caching allocator when a matrix product first uses the handle, one
for each CUDA stream, and keeps it. Each thread has its own handle: the main thread runs forward and the optimizer,
autograd's thread runs backward. From PyTorch 2.15 on a workspace is freed after each product. The workspaces of cuDNN
depend on its choice of algorithm and are not documented.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch._ops import OpOverload

from memprof.gpus.traits import GpuTraits
from memprof.units import KIB, MIB

_aten = torch.ops.aten

# `parseChosenWorkspaceSize` in PyTorch's aten/src/ATen/cuda/CublasHandlePool.cpp: ":4096:2:16:8", and 32 MiB for Hopper
# and Blackwell. Also in docs/source/notes/cuda.rst, "cuBLAS workspaces".
_DEFAULT_BYTES = 2 * 4096 * KIB + 8 * 16 * KIB
_LARGE_BYTES, _LARGE_MAJORS = 32 * MIB, (9, 10, 12)
_LT_DEFAULT_BYTES = 1024 * KIB  # `parseCUDABlasLtWorkspaceSize` there, if cuBLASLt has a workspace of its own
_SHARED_FROM = (2, 12)  # pytorch/pytorch#168175
_FREED_FROM = (2, 15)
_CONFIG = re.compile(r":(\d+):(\d+)")  # :SIZE:COUNT, in KiB

# The operators that ask for PyTorch's cuBLAS handle (aten/src/ATen/native/cuda/Blas.cpp and LinearAlgebra.cpp), and
# those among them that may run through cuBLASLt.
WITH_CUBLASLT: frozenset[OpOverload] = frozenset({_aten.addmm.default, _aten._addmm_activation.default})
WITH_CUBLAS: frozenset[OpOverload] = WITH_CUBLASLT | {
    _aten.mm.default,
    _aten.bmm.default,
    _aten.baddbmm.default,
    _aten.addbmm.default,
    _aten.mv.default,
    _aten.addmv.default,
    _aten.addr.default,
    _aten.dot.default,
    _aten.vdot.default,
    _aten._int_mm.default,
    _aten._scaled_mm.default,
    _aten._cdist_forward.default,
    _aten._scaled_dot_product_attention_math.default,
    _aten.slow_conv_transpose2d.default,
    _aten.slow_conv_dilated2d.default,
}


def cublas_workspace_bytes(gpu: GpuTraits, environment: Mapping[str, str]) -> int:
    """Return the workspace of one cuBLAS handle on one stream; CUBLAS_WORKSPACE_CONFIG in `environment` changes it."""
    pairs = _CONFIG.findall(environment.get("CUBLAS_WORKSPACE_CONFIG", ""))
    if pairs:
        return sum(int(size) * KIB * int(count) for size, count in pairs)
    return _LARGE_BYTES if gpu.major in _LARGE_MAJORS else _DEFAULT_BYTES


def cublaslt_workspace_bytes(environment: Mapping[str, str]) -> int:
    """Return the workspace that cuBLASLt has besides that of cuBLAS.

    From PyTorch 2.12 on it has none by default: both share one. TORCH_CUBLASLT_UNIFIED_WORKSPACE=0 separates them, 1
    unites them. CUBLASLT_WORKSPACE_SIZE is the size of an own one in KiB.
    """
    default = "1" if _torch_version() >= _SHARED_FROM else "0"
    if environment.get("TORCH_CUBLASLT_UNIFIED_WORKSPACE", default) != "0":
        return 0
    size = environment.get("CUBLASLT_WORKSPACE_SIZE", "")
    return int(size) * KIB if size.isdecimal() else _LT_DEFAULT_BYTES


def keeps_workspaces(environment: Mapping[str, str]) -> bool:
    """Say whether a workspace stays allocated after the product that needed it.

    Source: TORCH_CUBLAS_WORKSPACE_CACHE in docs/source/cuda_environment_variables.rst of PyTorch 2.15.
    """
    return _torch_version() < _FREED_FROM or environment.get("TORCH_CUBLAS_WORKSPACE_CACHE") == "1"


def _torch_version() -> tuple[int, ...]:
    return tuple(map(int, torch.__version__.split(".")[:2]))


def workspaces_bytes(gpu: GpuTraits, environment: Mapping[str, str]) -> int:
    """Return the workspaces of one thread that runs matrix products on one stream."""
    return cublas_workspace_bytes(gpu, environment) + cublaslt_workspace_bytes(environment)
