"""The experts that tokens are sent to, in the place of those that a router would choose from values."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

_EXPERTS = "experts"  # the name of the experts in transformers' and torchtitan's layers, and in DeepSeek's code


class ExpertRouting:
    """Replaces the indices that `torch.topk` gives within layers that have experts; `times` is 1 for a balanced choice.

    A layer has experts if it has a part or a parameter called ``experts``. Its `topk` over as many values as it has
    experts chooses the experts of each token.
    """

    def __init__(self, times: float) -> None:
        self.times = times
        self.choices = 0  # that were replaced
        self._experts: list[int] = []  # of the layers that run now

    def watch(self, model: nn.Module) -> int:
        """Notice when a layer with experts runs; return how many there are."""
        found = [(layer, count) for layer in model.modules() if (count := _experts_in(layer)) is not None]
        for layer, count in found:
            layer.register_forward_pre_hook(partial(self._enter, count))
            layer.register_forward_hook(self._leave, always_call=True)
        return len(found)

    def _enter(self, experts: int, *_: Any) -> None:
        self._experts.append(experts)

    def _leave(self, *_: Any) -> None:
        self._experts.pop()

    def choice(self, function: Any, args: Any, named: Any) -> Callable[[], tuple[None, Tensor]] | None:
        """Return a function for the indices of a `topk` that chooses experts; ``None`` for any other operator."""
        if str(function) != "aten.topk.default" or not self._experts:
            return None
        scores, top = args[0], args[1] if len(args) > 1 else named["k"]
        dimension = args[2] if len(args) > 2 else named.get("dim", -1)
        if dimension % scores.dim() != scores.dim() - 1 or scores.shape[-1] != self._experts[-1]:
            return None
        self.choices += 1
        before, experts, times = scores.shape[:-1], scores.shape[-1], self.times
        return lambda: (None, spread_tokens(before.numel(), top, experts, times).view(*before, top))


def spread_tokens(tokens: int, top: int, experts: int, times: float) -> Tensor:
    """Return the experts of each token, of shape (tokens, top); each token has `top` different ones.

    Expert 0 gets `times` its share of tokens x top / experts, at most all tokens; the others share the rest equally.
    """
    if times == 1 or top == experts:
        return torch.arange(tokens * top).view(tokens, top) % experts
    favoured = min(tokens, round(times * tokens * top / experts))
    is_other = torch.ones(tokens, top, dtype=torch.int64)
    is_other[:favoured, 0] = 0
    numbers = is_other.flatten().cumsum(0).view(tokens, top) - 1
    return is_other * (1 + numbers % (experts - 1))


def _experts_in(layer: nn.Module) -> int | None:
    """Return how many experts a layer has; ``None`` if it has none."""
    part = getattr(layer, _EXPERTS, None)
    if isinstance(part, nn.ModuleList):
        return len(part)
    if not isinstance(part, nn.Module):
        return None
    named = next(
        (size for size in (getattr(part, "num_experts", None), getattr(layer, "num_experts", None)) if size), None
    )
    return named if isinstance(named, int) else None
