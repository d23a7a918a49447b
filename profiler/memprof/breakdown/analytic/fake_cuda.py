"""Fake CUDA tensors: no data, but a CUDA device, so that torch takes the same code paths as on a GPU.

With meta tensors, torch would save other tensors for backward: autocast does not support the device, dropout saves
its noise as float32 instead of bool, and attention keeps the whole score matrix. `FakeTensorMode` keeps each shape in
a meta tensor and reports ``cuda`` as the device. It needs no GPU.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Argument, Tensor, nn
from torch._ops import OpOverload
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, in_kernel_invocation_manager
from torch.utils._pytree import tree_map_only

from memprof.breakdown.analytic.attention_masks import positions_in_order
from memprof.breakdown.analytic.compat import without_driver
from memprof.workload.batches import Batch
from memprof.workload.quantization import packed, pending_weight

DEVICE_TYPE = "cuda"


class FakeCudaModel:
    """A model whose parameters and buffers are replaced by fake CUDA tensors; tied ones stay tied."""

    def __init__(self, module: nn.Module) -> None:
        """Replace the tensors of `module` itself; `real_values` restores them temporarily."""
        self.module = module
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)
        self._originals = list(_slots(module))
        fakes = {id(tensor): self._fake(tensor) for _, _, tensor in self._originals}
        self._fakes = [(owner, name, fakes[id(tensor)]) for owner, name, tensor in self._originals]
        self._has_positions = False  # in its batches
        _put(self._fakes)

    @property
    def original_device(self) -> torch.device:
        """The device of the tensors that the module came with: meta for a model without memory, else the CPU."""
        return next((tensor.device for _, _, tensor in self._originals), torch.device("cpu"))

    @contextmanager
    def active(self) -> Iterator[None]:
        """Create every new tensor as a fake tensor, with or without a CUDA device."""
        masks = positions_in_order(unless=lambda: self._has_positions)
        with _without_context(), without_driver(), _without_log(), masks, self._mode:
            yield

    @contextmanager
    def real_values(self) -> Iterator[nn.Module]:
        """Yield the module with its original tensors."""
        _put(self._originals)
        try:
            yield self.module
        finally:
            _put(self._fakes)

    def batch(self, batch: Batch) -> Batch:
        """Return fake tensors for a batch on any device, for example the meta device."""
        inputs, keywords, target = tree_map_only(Tensor, self._fake, (batch.inputs, dict(batch.keywords), batch.target))
        self._has_positions = "position_ids" in keywords
        return replace(batch, inputs=inputs, keywords=keywords, target=target)

    def _fake(self, tensor: Tensor) -> Tensor:
        pending = pending_weight(tensor)
        whole = tensor if pending is None else pending
        with self.active():
            moved = torch.empty_strided(whole.shape, whole.stride(), dtype=whole.dtype, device=DEVICE_TYPE)
            if pending is not None:
                return packed(pending, moved)
            is_parameter = isinstance(tensor, nn.Parameter)
            return nn.Parameter(moved, requires_grad=tensor.requires_grad) if is_parameter else moved


@contextmanager
def _without_context() -> Iterator[None]:
    """Keep fake tensors from creating a CUDA context if there is a GPU.

    They create one for a backward pass, which never runs here. A context takes hundreds of MiB of a device that may
    be measured at the same time, and NVML counts it.
    """
    name = "init_gpu_context"
    before = getattr(fake_tensor, name, None)
    setattr(fake_tensor, name, lambda _: None)
    try:
        yield
    finally:
        setattr(fake_tensor, name, before)


@contextmanager
def _without_log() -> Iterator[None]:
    """Keep torch from logging a traceback when an operator fails: the caller reports the error in one line."""
    log = logging.getLogger(fake_tensor.__name__)
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def quick_empty_like(tensor: FakeTensor, dtype: torch.dtype | None = None) -> FakeTensor:
    """Do what `torch.empty_like` does, five times as fast as the mode's own dispatch."""
    with in_kernel_invocation_manager(tensor.fake_mode):
        meta = torch.empty_like(tensor, dtype=dtype, device="meta")
    return FakeTensor(tensor.fake_mode, meta, tensor.device)


def quick_result(func: OpOverload, args: Sequence[object]) -> Tensor | None:
    """Return the result of the simplest operators, or ``None`` if the mode itself has to dispatch.

    An operator that writes into its first argument returns it (``relu_``, but not ``t_``, which changes the shape),
    and arithmetic on tensors of one shape, dtype and device returns a tensor like the first.
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
    """Return whether `func` returns its first argument with only its values changed."""
    returns, arguments = func._schema.returns, func._schema.arguments
    in_place = len(returns) == 1 and bool(arguments) and _is_written(arguments[0]) and _is_written(returns[0])
    return in_place and torch.Tag.inplace_view not in func.tags


def _is_written(argument: Argument) -> bool:
    return argument.alias_info is not None and bool(argument.alias_info.is_write)


def device_storages(tensors: Iterable[Tensor]) -> dict[int, torch.UntypedStorage]:
    """Return the storages on the device by identity; they are kept alive, so that no identity is reused."""
    storages = (tensor.untyped_storage() for tensor in tensors if tensor.device.type == DEVICE_TYPE)
    return {storage._cdata: storage for storage in storages}


def _slots(module: nn.Module) -> Iterator[tuple[nn.Module, str, Tensor]]:
    for owner in module.modules():
        for name, tensor in (*owner._parameters.items(), *owner._buffers.items()):
            if tensor is not None:
                yield owner, name, tensor


def _put(slots: Iterable[tuple[nn.Module, str, Tensor]]) -> None:
    for owner, name, tensor in slots:
        setattr(owner, name, tensor)  # setattr also updates the list that recurrent layers keep
