"""Select the kernels that torch uses on a CUDA device, if they decide what is saved for backward."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode

from memprof.breakdown.analytic.fake_cuda import quick_empty_like, quick_result
from memprof.breakdown.analytic.workspaces import WITH_CUBLAS
from memprof.workload.quantization import without_outliers

aten = torch.ops.aten


@contextmanager
def cuda_kernels(module: nn.Module) -> Iterator[QuickRules]:
    """Select kernels for `module` as on a GPU of compute capability 8.0 or more, without a GPU.

    Attention: see `attention`; torch itself would read the GPU's properties. Recurrent layers run without cuDNN, since
    only cuDNN knows the size of its reserve space; torch's own kernels save gates and states of each time step.
    """
    recurrent = any(isinstance(part, nn.RNNBase) for part in module.modules())
    cudnn = torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled and not recurrent)
    outliers = without_outliers(module)
    with torch.library._scoped_library("aten", "IMPL") as library, cudnn, outliers, QuickRules() as rules:
        library.impl("scaled_dot_product_attention", attention, "AutogradCUDA")
        yield rules


@contextmanager
def cuda_autocast(dtype: torch.dtype | None) -> Iterator[None]:
    """Do what `torch.autocast("cuda", dtype)` does, which disables itself without a GPU."""
    if dtype is None:
        yield
        return
    before = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", dtype)
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        if torch.autocast_decrement_nesting() == 0:
            torch.clear_autocast_cache()
        torch.set_autocast_enabled("cuda", before[0])
        torch.set_autocast_dtype("cuda", before[1])


class QuickRules(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Computes the most common operators without the mode's own dispatch, which is 5 to 30 times slower."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.uses_cublas = False

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Return the result of batch normalization in training and of simple arithmetic; pass on the rest."""
        if func is aten.cudnn_batch_norm.default and args[5]:
            return (*_batch_norm(args[0], args[3]), torch.empty(0, dtype=torch.uint8, device=args[0].device))
        if func is aten.native_batch_norm.default and args[5]:
            return _batch_norm(args[0], args[3])
        self.uses_cublas |= func in WITH_CUBLAS
        result = None if kwargs else quick_result(func, args)
        return func(*args, **(kwargs or {})) if result is None else result


def _batch_norm(images: FakeTensor, mean: FakeTensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return output, mean and inverse deviation per channel; the last two are float32 for half precisions."""
    kept = torch.promote_types(images.dtype, torch.float32)
    if mean is None:  # no running statistics
        made = [torch.empty(images.shape[1], dtype=kept, device=images.device) for _ in range(2)]
    else:
        made = [quick_empty_like(mean, kept) for _ in range(2)]
    return quick_empty_like(images), made[0], made[1]


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Replace `scaled_dot_product_attention` on CUDA: flash, otherwise memory-efficient, otherwise math.

    The order and the conditions are those of `aten/src/ATen/native/transformers/cuda/sdp_utils.cpp`, without those on
    the GPU. cuDNN's kernel, which torch prefers on some GPUs, saves what flash saves, minus 8 bytes. With dropout, and
    always with torch 2.9 and 2.11, the memory-efficient kernel keeps its seed on the host: 16 bytes less than here.
    """
    switches: Any = torch.backends.cuda
    square = query.shape[-2] == key.shape[-2] or not is_causal
    if switches.flash_sdp_enabled() and square and _flash_can(query, key, value, attn_mask):
        size = query.shape[-1]
        padded = (nn.functional.pad(part, (0, -size % 8)) if size % 8 else part for part in (query, key, value))
        scale = size**-0.5 if scale is None else scale
        flash = aten._scaled_dot_product_flash_attention(*padded, dropout_p, is_causal, False, scale=scale)
        return flash[0][..., :size]  # type: ignore[no-any-return]
    if switches.mem_efficient_sdp_enabled() and _efficient_can(query, key, value, attn_mask):
        bias = None if attn_mask is None else _bias(attn_mask, query, key)
        saves = torch.is_grad_enabled() and any(part.requires_grad for part in (query, key, value))
        efficient = aten._scaled_dot_product_efficient_attention(
            query, key, value, bias, saves, dropout_p, is_causal, scale=scale
        )
        return efficient[0]  # type: ignore[no-any-return]
    plain = aten._scaled_dot_product_attention_math(
        query, key, value, attn_mask, dropout_p, is_causal, None, scale=scale, enable_gqa=enable_gqa
    )
    return plain[0]  # type: ignore[no-any-return]


def _flash_can(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> bool:
    half = query.dtype in (torch.float16, torch.bfloat16)
    same_size = query.shape[-1] == key.shape[-1] == value.shape[-1] <= 256
    return half and mask is None and same_size and _batches_agree(query, key, value)


def _efficient_can(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> bool:
    aligned = {torch.float32: 4, torch.float16: 8, torch.bfloat16: 8}.get(query.dtype)
    if aligned is None or (mask is not None and mask.requires_grad):
        return False
    sizes = query.shape[-1] % aligned == value.shape[-1] % aligned == 0
    return sizes and _batches_agree(query, key, value)


def _batches_agree(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Return whether all are (batch, heads, length, size); keys may have fewer heads than queries."""
    fits = query.dim() == 4 and query.shape[0] == key.shape[0] == value.shape[0]
    return fits and query.shape[1] % key.shape[1] == 0 and key.shape[1] == value.shape[1]


def _bias(mask: Tensor, query: Tensor, key: Tensor) -> Tensor:
    """Return `mask` in the form of the memory-efficient kernel: added to the scores, rows padded to 8 values."""
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill_(mask.logical_not(), float("-inf"))
    keys = key.shape[-2]
    if keys % 8:
        mask = nn.functional.pad(mask, (0, -keys % 8))[..., :keys]
    return mask.expand(*query.shape[:-1], keys)
