"""Keep the weights of linear layers in 4 or 8 bits, with the layers of bitsandbytes, as transformers does.

A layer is replaced when the model is built. Its weight is packed when it gets to the GPU: bitsandbytes takes the weight
there as it is, packs it, and frees it, one layer after the other.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import _disable_current_modes

from memprof.config.finetuning import QuantizationConfig
from memprof.config.schema import Precision, SweepConfig
from memprof.errors import WorkloadError
from memprof.workload.reason import reason

_PENDING = "memprof_pending"  # of a parameter whose values are still those of the layer that was replaced


def quantize(model: nn.Module, config: SweepConfig) -> nn.Module:
    """Replace the linear layers of `model` by layers of bitsandbytes; return it.

    Layers in `skip` stay as they are: by default the output layer and the last one, as in transformers.

    Raises:
        WorkloadError: bitsandbytes is not installed, or there is nothing to quantize.
    """
    spec = config.quantization
    if spec is None:
        return model
    library, dtype = _bitsandbytes(), compute_dtype(config)
    skipped = _skipped(model, spec)
    layers = [(path, part) for path, part in model.named_modules() if _is_linear(part) and not _is_in(path, skipped)]
    if not layers:
        raise WorkloadError(
            f"quantization: model {config.model.name!r} has no nn.Linear layer to quantize{_why(model, skipped)}"
        )
    for path, part in layers:
        parent, _, name = path.rpartition(".")
        owner = model.get_submodule(parent)
        setattr(
            owner, name, _four_bits(library, part, spec, dtype) if spec.bits == 4 else _eight_bits(library, part, spec)
        )
    setattr(model, f"is_loaded_in_{spec.bits}bit", True)  # peft reads it
    return model


def compute_dtype(config: SweepConfig) -> torch.dtype:
    """Return the dtype in which 4-bit layers compute: the configured one, or that of the precision."""
    spec = config.quantization
    if spec is not None and spec.compute_dtype is not None:
        dtype: torch.dtype = getattr(torch, spec.compute_dtype)
        return dtype
    if config.precision in (Precision.FP16, Precision.AMP_FP16):
        return torch.float16
    return torch.bfloat16 if config.precision in (Precision.BF16, Precision.AMP_BF16) else torch.float32


def pending_weight(tensor: Tensor) -> Tensor | None:
    """Return the weight that is packed when it gets to a GPU: `tensor`, or that of which `tensor` is a fake copy."""
    found = getattr(tensor, _PENDING, None)
    if isinstance(found, Tensor):
        return found
    return tensor if found and tensor.is_floating_point() else None


def packed(pending: Any, weight: Tensor) -> nn.Parameter:
    """Return `weight` packed as `pending` says, on the device of `weight`, which may be a fake one."""
    functional = importlib.import_module("bitsandbytes.functional")
    pack = _packed_in_four if hasattr(pending, "quant_type") else _packed_in_eight
    if not isinstance(weight, FakeTensor):
        return pack(functional, pending, weight)
    tables = dict(functional.name2qmap)  # made once, so a fake one must not stay
    with _disable_current_modes():
        functional.name2qmap["dynamic"] = functional.create_dynamic_map()  # its values are computed from one another
    try:
        parameter = pack(functional, pending, weight)
        setattr(parameter, _PENDING, pending)
        return parameter
    finally:
        functional.name2qmap.clear()
        functional.name2qmap.update(tables)


@contextmanager
def without_outliers(model: nn.Module) -> Iterator[None]:
    """Let 8-bit layers assume that no input is above their threshold, because that depends on values."""
    states = [state for part in model.modules() if (state := getattr(part, "state", None)) and hasattr(state, "SCB")]
    before = [state.threshold for state in states]
    for state in states:
        state.threshold = 0.0
    try:
        yield
    finally:
        for state, threshold in zip(states, before, strict=True):
            state.threshold = threshold


def count_elements(tensor: Tensor) -> int:
    """Return the number of weights in `tensor`; one that is packed has fewer elements than weights."""
    state = getattr(tensor, "quant_state", None)
    return tensor.numel() if state is None else int(state.shape.numel())


def quantization_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors that packed weights need besides their bytes, each with a name, for example its scales."""
    for path, module in model.named_modules():
        state = getattr(module, "state", None)
        weight: Any = dict(module.named_parameters(recurse=False)).get("weight")
        scales = getattr(weight, "SCB", None) if weight is not None else None
        scales = scales if scales is not None else getattr(state, "SCB", None)
        if isinstance(scales, Tensor):
            yield f"scales of {path}.weight", scales
        # The layer and its weight have the same state, except in a copy of the model.
        for packing in (getattr(weight, "quant_state", None), getattr(module, "quant_state", None)):
            if packing is not None:
                yield from ((f"{name} of {path}.weight", tensor) for name, tensor in _tensors_of(packing))


def shared_tables() -> Mapping[str, Tensor]:
    """Return the tables that bitsandbytes makes once for all packed weights, by name."""
    functional = sys.modules.get("bitsandbytes.functional")
    tables: Mapping[str, Tensor] = getattr(functional, "name2qmap", {})
    return {f"table {name!r} of bitsandbytes": table for name, table in tables.items()}


def quantization_bytes(model: nn.Module) -> Mapping[str, int]:
    """Return the bytes of `quantization_tensors` by name, each storage once."""
    seen: dict[int, Any] = {}
    found: dict[str, int] = {}
    for name, tensor in quantization_tensors(model):
        storage = tensor.untyped_storage()
        if storage._cdata not in seen:
            seen[storage._cdata] = storage
            found[name] = storage.nbytes()
    return found


def _tensors_of(state: Any) -> Iterator[tuple[str, Tensor]]:
    named = {"scales": state.absmax, "values": state.code, "offset": getattr(state, "offset", None)}
    nested = getattr(state, "state2", None)
    if nested is not None:
        named |= {"scales of the scales": nested.absmax, "values of the scales": nested.code}
    yield from ((name, tensor) for name, tensor in named.items() if isinstance(tensor, Tensor))


def _packed_in_four(functional: ModuleType, pending: Any, weight: Tensor) -> nn.Parameter:
    data, state = functional.quantize_4bit(
        weight,
        blocksize=pending.blocksize,
        compress_statistics=pending.compress_statistics,
        quant_type=pending.quant_type,
        quant_storage=pending.quant_storage,
    )
    if isinstance(weight, FakeTensor):
        parameter: Any = nn.Parameter(data, requires_grad=False)
        parameter.quant_state = state
    else:
        names = ("blocksize", "compress_statistics", "quant_type", "quant_storage", "module")
        same = {name: getattr(pending, name) for name in names}
        parameter = type(pending)(data, requires_grad=False, quant_state=state, bnb_quantized=True, **same)
        pending.module.quant_state = state
    return parameter  # type: ignore[no-any-return]


def _packed_in_eight(functional: ModuleType, pending: Any, weight: Tensor) -> nn.Parameter:
    data, scales, _ = functional.int8_vectorwise_quant(weight.to(torch.float16))
    if isinstance(weight, FakeTensor):
        parameter: Any = nn.Parameter(data, requires_grad=False)
        parameter.CB, parameter.SCB, parameter.has_fp16_weights = data, scales, False
    else:
        parameter = type(pending)(data, requires_grad=False, has_fp16_weights=False, CB=data, SCB=scales)
    return parameter  # type: ignore[no-any-return]


def _four_bits(library: ModuleType, part: Any, spec: QuantizationConfig, dtype: torch.dtype) -> nn.Module:
    size, has_bias = _shape(part), part.bias is not None
    with torch.device("meta"):
        layer = library.nn.Linear4bit(*size, bias=has_bias, compute_dtype=dtype)
    layer.weight = library.nn.Params4bit(
        _weight(part).to(dtype),
        requires_grad=False,
        compress_statistics=spec.double_quant,
        quant_type=spec.quant_type,
        module=layer,
    )
    return _finished(layer, part)


def _eight_bits(library: ModuleType, part: Any, spec: QuantizationConfig) -> nn.Module:
    size, has_bias = _shape(part), part.bias is not None
    with torch.device("meta"):
        layer = library.nn.Linear8bitLt(*size, bias=has_bias, has_fp16_weights=False, threshold=spec.threshold)
    layer.weight = library.nn.Int8Params(_weight(part), requires_grad=False, has_fp16_weights=False)
    return _finished(layer, part)


def _finished(layer: Any, part: Any) -> nn.Module:
    setattr(layer.weight, _PENDING, True)
    layer.bias = part.bias
    layer.requires_grad_(False)
    layer.train(part.training)
    result: nn.Module = layer
    return result


def _is_linear(part: nn.Module) -> bool:
    """Whether a layer can be replaced: a subclass of nn.Linear may use its weight in another way."""
    return type(part) is nn.Linear or type(part).__name__ == "Conv1D"


def _shape(part: Any) -> tuple[int, int]:
    outputs, inputs = _weight(part).shape
    return inputs, outputs


def _weight(part: Any) -> Tensor:
    """Return the weight as (outputs, inputs); transformers' Conv1D has it transposed."""
    weight: Tensor = part.weight.data
    return weight if type(part) is nn.Linear else weight.T


def _skipped(model: nn.Module, spec: QuantizationConfig) -> set[str]:
    if spec.skip is not None:
        return set(spec.skip)
    modules = {id(part): path for path, part in model.named_modules()}
    output: Any = getattr(model, "get_output_embeddings", lambda: None)()
    last = next(reversed([path.rpartition(".")[0] for path, _ in model.named_parameters()]), "")
    return {path for path in (modules.get(id(output)), last) if path}


def _is_in(path: str, skipped: set[str]) -> bool:
    """Return whether a module is one of `skipped`, lies in one, or has its last name."""
    return any(f".{path}.".find(f".{name}.") >= 0 for name in skipped)


def _why(model: nn.Module, skipped: set[str]) -> str:
    left = [path for path, part in model.named_modules() if _is_linear(part)]
    return f": {', '.join(left[:3])} stay as they are (skip: {sorted(skipped)})" if left else ""


def _bitsandbytes() -> ModuleType:
    try:
        library = importlib.import_module("bitsandbytes")
        logging.getLogger(library.__name__).setLevel(logging.ERROR)  # it warns of casts in each layer of each pass
        return library
    except Exception as error:
        raise WorkloadError(
            f"quantization: needs bitsandbytes: {reason(error)}; run: pip install bitsandbytes"
        ) from error
