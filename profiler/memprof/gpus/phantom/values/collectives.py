"""Collectives of torch.distributed for tensors of the host: other ranks are absent, and send what this one sends.

This is what ranks do that have the same batch and the same weights. A group of one rank is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

_SUM, _AVERAGE, _PRODUCT, _MIN, _MAX = range(5)  # c10d::ReduceOp::RedOpType

# Arguments in which collectives return what they receive; their schemas do not say so.
RECEIVED: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        f"c10d.{name}.default": (0,)
        for name in (
            *("allreduce_", "allreduce_coalesced_", "reduce_", "broadcast_", "allgather_", "_allgather_base_"),
            *("allgather_coalesced_", "allgather_into_tensor_coalesced_", "reduce_scatter_", "_reduce_scatter_base_"),
            *("reduce_scatter_tensor_coalesced_", "alltoall_", "alltoall_base_", "scatter_", "gather_"),
            *("gather_into_tensor_", "recv_", "recv_any_source_"),
        )
    }
)


def group_of(function: Any, args: Sequence[Any]) -> Any:
    """Return the process group of a collective; ``None`` if the operator is none."""
    if not is_collective(function):
        return None
    for value, argument in zip(args, function._schema.arguments, strict=False):
        if argument.name == "process_group":
            return torch.distributed.ProcessGroup.unbox(value)
        if argument.name == "group_name":
            return _group_named(value) if isinstance(value, str) else value
    return None


def _group_named(name: str) -> Any:
    return torch.distributed.distributed_c10d._resolve_process_group(name)  # type: ignore[attr-defined,arg-type]


@cache
def is_collective(function: Any) -> bool:
    """Return whether an operator belongs to torch.distributed."""
    return function.namespace in ("c10d", "_c10d_functional")


def _reduce(tensors: Sequence[Tensor], group: Any, operation: Any, *_: Any) -> None:
    """Combine equal values of all ranks in place."""
    if not hasattr(operation, "op"):
        raise NotImplementedError("a reduction of PyTorch 2.9, which does not say its kind")
    size, kind = torch.distributed.ProcessGroup.unbox(group).size(), operation.op()
    for tensor in tensors:
        if kind == _SUM:
            tensor.mul_(size)
        elif kind == _PRODUCT:
            tensor.pow_(size)
        elif kind not in (_AVERAGE, _MIN, _MAX):
            raise NotImplementedError("this reduction")


def _reduce_sparse(tensors: Sequence[Tensor], group: Any, operation: Any, indices: Any = None, *_: Any) -> None:
    if indices is not None:
        raise NotImplementedError("a reduction of sparse tensors")
    _reduce(tensors, group, operation)


def _broadcast(tensors: Sequence[Tensor], *_: Any) -> None:
    """Leave the values: the root has the same."""


def _gather(received: Sequence[Sequence[Tensor]], sent: Sequence[Tensor], *_: Any) -> None:
    for parts, own in zip(received, sent, strict=True):
        for part in parts:
            part.copy_(own)


def _gather_whole(received: Tensor, sent: Tensor, *_: Any) -> None:
    received.view(-1, sent.numel()).copy_(sent.reshape(1, -1))


def _gather_several(received: Sequence[Tensor], sent: Sequence[Tensor], *_: Any) -> None:
    for whole, own in zip(received, sent, strict=True):
        _gather_whole(whole, own)


def _scatter(received: Sequence[Tensor], sent: Sequence[Sequence[Tensor]], group: Any, operation: Any, *_: Any) -> None:
    rank = torch.distributed.ProcessGroup.unbox(group).rank()
    for own, parts in zip(received, sent, strict=True):
        own.copy_(parts[rank])
    _reduce(received, group, operation)


def _scatter_whole(received: Tensor, sent: Tensor, group: Any, operation: Any, *_: Any) -> None:
    _scatter([received], [torch.split(sent.reshape(-1), received.numel())], group, operation)


def _scatter_several(received: Sequence[Tensor], sent: Sequence[Tensor], group: Any, operation: Any, *_: Any) -> None:
    for own, whole in zip(received, sent, strict=True):
        _scatter_whole(own, whole, group, operation)


def _exchange(received: Sequence[Tensor], sent: Sequence[Tensor], group: Any, *_: Any) -> None:
    own = sent[torch.distributed.ProcessGroup.unbox(group).rank()]
    for part in received:
        part.copy_(own)


def _exchange_whole(received: Tensor, sent: Tensor, group: Any, received_sizes: Any, sent_sizes: Any, *_: Any) -> None:
    if received_sizes or sent_sizes:
        raise NotImplementedError("all-to-all of unequal parts")
    size = torch.distributed.ProcessGroup.unbox(group).size()
    _exchange(received.chunk(size), sent.chunk(size), group)


COLLECTIVES: Mapping[str, Callable[..., None]] = MappingProxyType(
    {
        "c10d.allreduce_.default": _reduce_sparse,
        "c10d.allreduce_coalesced_.default": _reduce,
        "c10d.reduce_.default": _reduce,
        "c10d.broadcast_.default": _broadcast,
        "c10d.allgather_.default": _gather,
        "c10d._allgather_base_.default": _gather_whole,
        "c10d.allgather_into_tensor_coalesced_.default": _gather_several,
        "c10d.reduce_scatter_.default": _scatter,
        "c10d._reduce_scatter_base_.default": _scatter_whole,
        "c10d.reduce_scatter_tensor_coalesced_.default": _scatter_several,
        "c10d.alltoall_.default": _exchange,
        "c10d.alltoall_base_.default": _exchange_whole,
    }
)
