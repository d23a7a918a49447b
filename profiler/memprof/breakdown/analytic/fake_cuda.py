"""Tensors without data that say they live on a CUDA device, so that torch takes the paths it takes there.

On a plain meta tensor torch would save other things for backward: autocast does not know the device, dropout
saves its noise as float32 in place of bool, attention keeps the whole score matrix. `FakeTensorMode` holds
each shape in a meta tensor and answers ``cuda`` for the device. It needs no GPU.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Argument, Tensor, nn
from torch._ops import OpOverload
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, in_kernel_invocation_manager

from memprof.breakdown.analytic.compat import without_driver
from memprof.workload.batches import Batch

DEVICE_TYPE = "cuda"


class FakeCudaModel:
    """A model whose parameters and buffers have given way to stand-ins. Tied ones stay tied."""

    def __init__(self, module: nn.Module) -> None:
        """Replace the tensors of `module` itself; `real_values` puts them back for a while."""
        self.module = module
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)
        self._originals = list(_slots(module))
        stand_ins = {id(tensor): self._stand_in(tensor) for _, _, tensor in self._originals}
        self._stand_ins = [(owner, name, stand_ins[id(tensor)]) for owner, name, tensor in self._originals]
        _put(self._stand_ins)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make every tensor that is created a stand-in, a CUDA device or not."""
        with _without_context(), without_driver(), self._mode:
            yield

    @contextmanager
    def real_values(self) -> Iterator[nn.Module]:
        """Yield the module with the tensors that it came with."""
        _put(self._originals)
        try:
            yield self.module
        finally:
            _put(self._stand_ins)

    def batch(self, batch: Batch) -> Batch:
        """Return stand-ins for a batch of any device, the meta device for one."""
        inputs = tuple(self._stand_in(tensor) for tensor in batch.inputs)
        target = None if batch.target is None else self._stand_in(batch.target)
        return replace(batch, inputs=inputs, target=target)

    def _stand_in(self, tensor: Tensor) -> Tensor:
        with self.active():
            moved = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=DEVICE_TYPE)
            is_parameter = isinstance(tensor, nn.Parameter)
            return nn.Parameter(moved, requires_grad=tensor.requires_grad) if is_parameter else moved


@contextmanager
def _without_context() -> Iterator[None]:
    """Keep stand-ins from making a CUDA context where there is a GPU.

    They do so for the sake of a backward pass, which never runs here; a context takes hundreds of MiB of a
    device that may be under measurement, and NVML counts it.
    """
    name = "init_gpu_context"
    before = getattr(fake_tensor, name, None)
    setattr(fake_tensor, name, lambda _: None)
    try:
        yield
    finally:
        setattr(fake_tensor, name, before)


def quick_empty_like(tensor: FakeTensor, dtype: torch.dtype | None = None) -> FakeTensor:
    """Be `torch.empty_like`, in a fifth of the time that the mode's own dispatch takes."""
    with in_kernel_invocation_manager(tensor.fake_mode):
        meta = torch.empty_like(tensor, dtype=dtype, device="meta")
    return FakeTensor(tensor.fake_mode, meta, tensor.device)


def quick_result(func: OpOverload, args: Sequence[object]) -> Tensor | None:
    """Return what the plainest operators return, or ``None`` where the mode itself has to say.

    One that writes into its first argument returns it (``relu_``, but not ``t_``, which changes the shape),
    and arithmetic of equals returns a like of the first.
    """
    first = args[0] if args else None
    if not isinstance(first, FakeTensor) or not _are_alike(args):
        return None
    if _is_arithmetic(func):
        return quick_empty_like(first)
    return first if only_writes(func) else None


def _are_alike(args: Sequence[object]) -> bool:
    return len({(arg.shape, arg.dtype, arg.device) for arg in args if isinstance(arg, Tensor)}) == 1


def _is_arithmetic(func: OpOverload) -> bool:
    aten = torch.ops.aten
    return func in (aten.add.Tensor, aten.mul.Tensor, aten.div.Tensor, aten.sqrt.default, aten.relu.default)


def only_writes(func: OpOverload) -> bool:
    """Say whether `func` returns its first argument, changed in its values alone."""
    returns, arguments = func._schema.returns, func._schema.arguments
    in_place = len(returns) == 1 and bool(arguments) and _is_written(arguments[0]) and _is_written(returns[0])
    return in_place and torch.Tag.inplace_view not in func.tags


def _is_written(argument: Argument) -> bool:
    return argument.alias_info is not None and bool(argument.alias_info.is_write)


def device_storages(tensors: Iterable[Tensor]) -> dict[int, torch.UntypedStorage]:
    """Return the storages on the device by identity; they are held, so that no identity is used twice."""
    storages = (tensor.untyped_storage() for tensor in tensors if tensor.device.type == DEVICE_TYPE)
    return {storage._cdata: storage for storage in storages}


def _slots(module: nn.Module) -> Iterator[tuple[nn.Module, str, Tensor]]:
    for owner in module.modules():
        for name, tensor in (*owner._parameters.items(), *owner._buffers.items()):
            if tensor is not None:
                yield owner, name, tensor


def _put(slots: Iterable[tuple[nn.Module, str, Tensor]]) -> None:
    for owner, name, tensor in slots:
        setattr(owner, name, tensor)  # recurrent layers keep a list of their own, which setattr mends
