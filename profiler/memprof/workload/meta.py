"""Large models without host memory: built on the meta device, and given memory only on the GPU.

The tensors of a meta model have shapes and dtypes and no values. Values do not change what memory is taken, so a
model of any size can be built and summarized on a machine that could not hold it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from memprof.workload.quantization import packed, pending_weight

# Smaller models are built on the CPU, with the values that their own initialization gives them.
LARGEST_ON_HOST_BYTES = 1 << 30
_STANDARD_DEVIATION = 0.02  # the initializer_range of BERT, GPT-2 and Llama


def is_on_meta(model: nn.Module) -> bool:
    """Return whether the model has tensors without memory."""
    return any(tensor.is_meta for tensor in _tensors(model))


def host_bytes(model: nn.Module) -> int:
    """Return the bytes that the parameters and buffers of `model` take, or would take if they had memory."""
    unique = {id(tensor): tensor for tensor in _tensors(model)}
    return sum(map(tensor_bytes, unique.values()))


def tensor_bytes(tensor: Any) -> int:
    """Return the bytes of a tensor: elements times bytes per element, also of the tensors that it is made of."""
    if is_traceable_wrapper_subclass(tensor):
        return sum(tensor_bytes(getattr(tensor, name)) for name in tensor.__tensor_flatten__()[0])
    return int(tensor.numel() * tensor.element_size())


def move_to_device(model: nn.Module, device: torch.device) -> nn.Module:
    """Do what ``model.to(device)`` does, also for a model on the meta device.

    Memory is asked for in the order of `torch.nn.Module.to`: submodules first, then a module's own parameters, then
    its buffers, each tensor once. Integers become zeros, which are valid as indices; the rest is drawn at random.
    """
    if not is_on_meta(model):
        return model.to(device)
    _replace(model, lambda tensor: _moved(tensor, device) if tensor.is_meta else _with_data_on(tensor, device))
    return model


def move_to_meta(model: nn.Module) -> nn.Module:
    """Give up the values of `model`; tensors that several modules share stay shared."""
    _replace(model, lambda tensor: _with_data_on(tensor, torch.device("meta")))
    return model


def _replace(model: nn.Module, replacement: Callable[[Tensor], Tensor]) -> None:
    """Replace each tensor of `model`, submodules first; what several modules share stays shared."""
    replaced: dict[int, tuple[Tensor, Tensor]] = {}  # with the old tensor, so that no new one gets its id
    for module in dict.fromkeys(_submodules_first(model)):
        for slots in (module._parameters, module._buffers):
            for name, tensor in slots.items():
                if tensor is not None:
                    if id(tensor) not in replaced:
                        replaced[id(tensor)] = tensor, replacement(tensor)
                    setattr(module, name, replaced[id(tensor)][1])


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    if is_traceable_wrapper_subclass(tensor):
        return _moved_parts(tensor, device)
    with torch.no_grad():
        there: Tensor = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)
        if there.is_floating_point():
            there.normal_(0, _STANDARD_DEVIATION)
        else:
            there.zero_()
    if (pending := pending_weight(tensor)) is not None:
        return packed(pending, there)
    return nn.Parameter(there, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else there


def _moved_parts(tensor: Any, device: torch.device) -> Tensor:
    """Return a tensor that is made of others, as torchao's quantized weights are, with each of them on `device`."""
    names, settings = tensor.__tensor_flatten__()
    parts = {name: _moved(getattr(tensor, name), device) for name in names}
    there: Tensor = type(tensor).__tensor_unflatten__(parts, settings, tensor.shape, tensor.stride())
    return nn.Parameter(there, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else there


def _with_data_on(tensor: Tensor, device: torch.device) -> Tensor:
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(tensor.data.to(device), requires_grad=tensor.requires_grad)
    return tensor.to(device)


def _submodules_first(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        yield from _submodules_first(child)
    yield module


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()
