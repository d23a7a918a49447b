"""Record what a run on fake CUDA tensors would request from the caching allocator, and when it would free it.

Every operator runs on shapes alone. A storage counts from the operator that creates it until nothing refers to it, as
on a GPU. Memory that only a kernel sees is missing: the workspaces of cuDNN, and buffers within most kernels.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.optim import optimizer as torch_optimizer
from torch.utils._python_dispatch import TorchDispatchMode

from memprof.breakdown.analytic.fake_cuda import DEVICE_TYPE
from memprof.breakdown.analytic.reductions import reduction_requests
from memprof.breakdown.analytic.workspaces import (
    WITH_CUBLAS,
    WITH_CUBLASLT,
    cublas_workspace_bytes,
    cublaslt_workspace_bytes,
    keeps_workspaces,
)
from memprof.gpus.traits import GpuTraits

_aten = torch.ops.aten
_SUMS = (_aten.sum.dim_IntList, _aten.mean.dim)


class RequestRecorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Collects `requests` in the form of `memprof.allocator.simulator.simulate`.

    `in_backward` says which thread would run the next operators, and so which cuBLAS handle they would use.
    """

    def __init__(self, gpu: GpuTraits, environment: Mapping[str, str], unique: tuple[int, int]) -> None:
        """Start without requests; `unique` is what `use_counts` returns for a tensor that nothing else refers to."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.requests: list[int] = []
        self.in_backward = False
        self._sizes = {
            WITH_CUBLAS: cublas_workspace_bytes(gpu, environment),
            WITH_CUBLASLT: cublaslt_workspace_bytes(environment),
        }
        self._gpu = gpu
        self._keeps_workspaces = keeps_workspaces(environment)
        self._handles: set[tuple[frozenset[Any], bool]] = set()
        self._alive: dict[int, weakref.ref[Any]] = {}
        self._count = 0
        self._unique = unique

    def hold(self, tensors: Iterable[Tensor]) -> None:
        """Record the storages of tensors that exist before the run."""
        for tensor in tensors:
            self._see(tensor)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an operator and record the storages that it creates."""
        if func is _aten._local_scalar_dense.default:
            return _scalar(args[0])
        if func is _aten.add.Tensor and self._adds_in_place(args, kwargs):
            return args[0]
        with self._workspaces(func) if func in WITH_CUBLAS else nullcontext():
            result = func(*args, **(kwargs or {}))
        for part in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(part, Tensor):
                self._see(part)
        if func in _SUMS:
            self._use_buffers(args)
        return result

    def _adds_in_place(self, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> bool:
        """Say whether autograd would add this gradient to one that it already has, without new memory.

        It does so if nothing else refers to the latter (`InputBuffer::accumulate` in torch/csrc/autograd), but not
        while a dispatch mode is active, as this one is.
        """
        if not self.in_backward or torch.is_grad_enabled() or kwargs or len(args) != 2:
            return False
        one, other = args
        if not isinstance(one, FakeTensor) or not isinstance(other, FakeTensor):
            return False
        return one.shape == other.shape and one.dtype == other.dtype and use_counts(one) == self._unique

    @contextmanager
    def _workspaces(self, func: Any) -> Iterator[None]:
        """Request the workspaces that a product needs and does not have yet."""
        requested = []
        for operators, size in self._sizes.items():
            key = operators, self.in_backward
            if func in operators and size and key not in self._handles:
                requested.append(self._request(size))
                if self._keeps_workspaces:
                    self._handles.add(key)
        yield
        if not self._keeps_workspaces:
            self.requests += [~index for index in requested]

    def _use_buffers(self, args: tuple[Any, ...]) -> None:
        """Request what a sum needs next to its result, and free it."""
        dims = args[1] if len(args) > 1 and args[1] is not None else ()
        requested = [self._request(size) for size in reduction_requests(args[0], dims, self._gpu)]
        self.requests += [~index for index in requested]

    def _request(self, size: int) -> int:
        self.requests.append(size)
        self._count += 1
        return self._count - 1

    def _see(self, tensor: Tensor) -> None:
        if tensor.device.type != DEVICE_TYPE:
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._alive or not storage.nbytes():
            return
        self._alive[key] = weakref.ref(storage, partial(self._freed, key, self._request(storage.nbytes())))

    def _freed(self, key: int, index: int, _: object) -> None:
        del self._alive[key]
        self.requests.append(~index)


def use_counts(tensor: Tensor) -> tuple[int, int]:
    """Return how many references there are to a tensor, and to its storage."""
    return tensor._use_count(), torch._C._storage_Use_Count(tensor.untyped_storage()._cdata)  # type: ignore[attr-defined]


class _FirstSum(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: tuple[int, int] | None = None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is _aten.add.Tensor and self.counts is None:
            self.counts = use_counts(args[0])
        return func(*args, **(kwargs or {}))


def unique_use_counts() -> tuple[int, int]:
    """Return `use_counts` of a gradient that only autograd's buffer refers to, among fake tensors.

    The product below gives its first factor two gradients that nothing else needs. The counts differ between versions
    of PyTorch, since Python's own references count too.
    """
    first = torch.empty(2, device=DEVICE_TYPE, requires_grad=True)
    kept = first * 2
    with _FirstSum() as found:
        (kept.sin() * kept.cos()).sum().backward()  # type: ignore[no-untyped-call]
    if found.counts is None:
        raise RuntimeError("autograd did not add two gradients")
    counts: tuple[int, int] = found.counts
    return counts


@contextmanager
def as_on_cuda() -> Iterator[None]:
    """Run backward in this thread, and let optimizers choose their implementation as for real CUDA parameters."""
    # `_default_to_fused_or_foreach` compares the types of the parameters with this list.
    supported = torch_optimizer._foreach_supported_types
    supported.append(FakeTensor)
    try:
        with torch.autograd.set_multithreading_enabled(False):
            yield
    finally:
        supported.remove(FakeTensor)


def _scalar(tensor: Tensor) -> float:
    """Return a value that a run may read: zero on the device, as on a phantom; a step's number on the host."""
    if tensor.device.type == DEVICE_TYPE:
        return 0.0 if tensor.is_floating_point() else 0
    return 0.5 if tensor.is_floating_point() else 1  # some optimizers divide by it, or by 1 minus it
