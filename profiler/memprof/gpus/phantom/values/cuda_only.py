"""Operators that only CUDA has, or that choose among equal values otherwise on the CPU, for tensors of the host."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

_aten = torch.ops.aten


def _batch_norm(
    x: Tensor, weight: Tensor, bias: Any, mean: Any, variance: Any, training: bool, momentum: float, epsilon: float
) -> tuple[Tensor, ...]:
    out, kept_mean, kept_deviation = _aten.native_batch_norm(
        x, weight, bias, mean, variance, training, momentum, epsilon
    )
    return out, kept_mean, kept_deviation, x.new_empty(0, dtype=torch.uint8)


def _batch_norm_backward(
    x: Tensor, grad: Tensor, weight: Tensor, mean: Any, variance: Any, kept_mean: Any, kept_deviation: Any,
    epsilon: float, reserve: Tensor,
) -> Any:  # fmt: skip
    del reserve
    kept = kept_mean, kept_deviation, True, epsilon, [True, True, True]
    return _aten.native_batch_norm_backward(grad, x, weight, mean, variance, *kept)


def _rms_norm_backward(
    grad: Tensor, x: Tensor, shape: Sequence[int], kept_scale: Tensor, weight: Tensor | None, wanted: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None]:
    inner = tuple(range(x.dim() - len(shape), x.dim()))
    outer = tuple(range(x.dim() - len(shape)))
    normed, weighted = x.float() * kept_scale.float(), grad.float()
    of_weight = weighted * normed
    if weight is not None:
        weighted = weighted * weight.float()
    of_x = (weighted - normed * (weighted * normed).mean(inner, keepdim=True)) * kept_scale.float()
    if outer:
        of_weight = of_weight.sum(outer)
    return of_x if wanted[0] else None, of_weight if wanted[1] else None


def _probabilities(
    query: Tensor, key: Tensor, bias: Tensor | None, causal: bool, scale: float | None
) -> tuple[Tensor, Tensor, float]:
    """Return softmax(query x key), the logarithms of its sums, and the scale; all in float32."""
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = query.float() @ key.float().transpose(-1, -2) * scale
    if bias is not None:
        scores = scores + bias.float()
    if causal:
        future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(future, -math.inf)
    sums = scores.logsumexp(-1)
    return (scores - sums.unsqueeze(-1)).exp().nan_to_num(0.0), sums, scale


def _heads(query: Tensor, *others: Tensor) -> list[Tensor]:
    """Repeat the heads of keys and values that several heads of the query share."""
    groups = query.shape[-3] // max(others[0].shape[-3], 1)
    return [other.repeat_interleave(groups, -3) if groups > 1 else other for other in others]


def _attention(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, causal: bool, scale: float | None
) -> tuple[Tensor, Tensor]:
    keys, values = _heads(query, key, value)
    weights, sums, _scale = _probabilities(query, keys, bias, causal, scale)
    return (weights @ values.float()).to(query.dtype), sums


def _attention_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, causal: bool, scale: float | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    keys, values = _heads(query, key, value)
    weights, _sums, scale = _probabilities(query, keys, bias, causal, scale)
    grad_weights = grad.float() @ values.float().transpose(-1, -2)
    grad_scores = weights * (grad_weights - (weights * grad_weights).sum(-1, keepdim=True))
    of_query = grad_scores @ keys.float() * scale
    of_key = grad_scores.transpose(-1, -2) @ query.float() * scale
    of_value = weights.transpose(-1, -2) @ grad.float()
    return of_query, _summed(of_key, key), _summed(of_value, value), grad_scores


def _summed(grad: Tensor, wanted: Tensor) -> Tensor:
    """Add up the gradients of heads that share a key or value."""
    if grad.shape == wanted.shape:
        return grad
    groups = (*wanted.shape[:-2], grad.shape[-3] // wanted.shape[-3], *wanted.shape[-2:])
    return grad.reshape(groups).sum(-3)


def _flash(
    query: Tensor, key: Tensor, value: Tensor, dropout: float = 0.0, causal: bool = False, *_more: Any,
    scale: float | None = None,
) -> tuple[Any, ...]:  # fmt: skip
    del dropout
    return (*_attention(query, key, value, None, causal, scale), *[None] * 7)


def _flash_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, sums: Tensor, cum_q: Any, cum_k: Any,
    max_q: int, max_k: int, dropout: float, causal: bool, *_more: Any, scale: float | None = None,
) -> tuple[Any, ...]:  # fmt: skip
    del out, sums, cum_q, cum_k, max_q, max_k, dropout
    return _attention_backward(grad, query, key, value, None, causal, scale)[:3]


def _efficient(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, compute_sums: bool, dropout: float = 0.0,
    causal: bool = False, *, scale: float | None = None,
) -> tuple[Any, ...]:  # fmt: skip
    del compute_sums, dropout
    out, sums = _attention(query, key, value, bias, causal, scale)
    return out, sums, None, None


def _efficient_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, out: Tensor, sums: Tensor,
    seed: Any, offset: Any, dropout: float, wanted: Sequence[bool], causal: bool = False, *,
    scale: float | None = None,
) -> tuple[Any, ...]:  # fmt: skip
    del out, sums, seed, offset, dropout
    *grads, of_bias = _attention_backward(grad, query, key, value, bias, causal, scale)
    return (*grads, of_bias.sum_to_size(bias.shape) if bias is not None and wanted[3] else None)


def _cudnn(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, compute_sums: bool, dropout: float = 0.0,
    causal: bool = False, return_mask: bool = False, *, scale: float | None = None,
) -> tuple[Any, ...]:  # fmt: skip
    del compute_sums, dropout, return_mask
    out, sums = _attention(query, key, value, bias, causal, scale)
    return (out, sums.unsqueeze(-1), *[None] * 7)


def _cudnn_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, sums: Tensor, seed: Any, offset: Any,
    bias: Tensor | None, cum_q: Any, cum_k: Any, max_q: int, max_k: int, dropout: float, causal: bool, *,
    scale: float | None = None,
) -> tuple[Any, ...]:  # fmt: skip
    del out, sums, seed, offset, cum_q, cum_k, max_q, max_k, dropout
    return _attention_backward(grad, query, key, value, bias, causal, scale)[:3]


def _top(x: Tensor, count: int, dim: int = -1, largest: bool = True, ordered: bool = True) -> tuple[Tensor, Tensor]:
    """Take the first of equal values, as CUDA's kernel does; the CPU's takes any."""
    del ordered
    if x.dim() == 0:
        x = x.unsqueeze(0)
        return x[:count].squeeze(0), torch.zeros((), dtype=torch.long)
    values, places = x.sort(dim=dim, descending=largest, stable=True)
    return values.narrow(dim, 0, count), places.narrow(dim, 0, count)


def _sort(x: Tensor, dim: int = -1, descending: bool = False) -> Any:
    return x.sort(dim=dim, descending=descending, stable=True)


def _histogram(x: Tensor, bins: int = 100, low: float = 0, high: float = 0) -> Tensor:
    """Count integers too, as CUDA does: for instance the tokens of each expert."""
    return x.double().histc(bins, low, high).to(x.dtype)


def _resize(x: Tensor, size: Sequence[int], **_more: Any) -> Tensor:
    """Return a larger tensor that begins with the same elements; the others are zeros."""
    larger = x.new_zeros(size)
    kept = min(x.numel(), larger.numel())
    larger.view(-1)[:kept] = x.reshape(-1)[:kept]
    return larger


CUDA_ONLY: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "aten.cudnn_batch_norm.default": _batch_norm,
        "aten.cudnn_batch_norm_backward.default": _batch_norm_backward,
        "aten._fused_rms_norm_backward.default": _rms_norm_backward,
        "aten._scaled_dot_product_flash_attention.default": _flash,
        "aten._scaled_dot_product_flash_attention_backward.default": _flash_backward,
        "aten._scaled_dot_product_efficient_attention.default": _efficient,
        "aten._scaled_dot_product_efficient_attention_backward.default": _efficient_backward,
        "aten._scaled_dot_product_cudnn_attention.default": _cudnn,
        "aten._scaled_dot_product_cudnn_attention_backward.default": _cudnn_backward,
        "aten.topk.default": _top,
        "aten.sort.default": _sort,
        "aten.histc.default": _histogram,
        "aten.resize_.default": _resize,
    }
)
