"""Models with the loss of transformers 4.48, which the published runs of fms-acceleration had. They need transformers.

That version copies the logits when it shifts them; newer versions shift the labels. Like the Trainer, the models return
their loss alone, so the logits are freed before the optimizer. Attention has no mask, as with FlashAttention.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    GPTBigCodeConfig,
    GPTBigCodeForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward

UNMASKED = "unmasked_sdpa"


class Mistral(nn.Module):
    """Mistral with the loss of its labels, which is computed in float32 from shifted logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, labels: Tensor) -> Tensor:
        logits = self.model(input_ids=input_ids, use_cache=False).logits
        return _shifted_loss(logits.float(), labels)


class SantaCoder(nn.Module):
    """SantaCoder with the loss of its labels, which version 4.48 computes in the dtype of the weights.

    That version fills the cache of keys and values in training, too. They are views, so the forward pass keeps the
    whole output of each layer's projection until the loss is there.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.cache: list[Any] | None = None
        for name, module in model.named_modules():
            if name.endswith("c_attn"):
                module.register_forward_hook(self._fill)

    def forward(self, input_ids: Tensor, labels: Tensor) -> Tensor:
        self.cache = []
        logits = self.model(input_ids=input_ids, use_cache=False).logits
        loss = _shifted_loss(logits, labels)
        self.cache = None  # the backward pass runs the layers again, without a cache
        return loss

    def _fill(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        if self.cache is not None:
            self.cache.append(output)


def _shifted_loss(logits: Tensor, labels: Tensor) -> Tensor:
    shifted = logits[..., :-1, :].contiguous()
    return nn.functional.cross_entropy(shifted.view(-1, shifted.size(-1)), labels[..., 1:].contiguous().view(-1))


def mistral(**sizes: Any) -> nn.Module:
    """Return Mistral without memory for its weights, with gradient checkpointing."""
    return Mistral(_checkpointed(MistralForCausalLM, MistralConfig(**sizes)))


def santacoder(**sizes: Any) -> nn.Module:
    """Return SantaCoder without memory for its weights, with gradient checkpointing."""
    return SantaCoder(_checkpointed(GPTBigCodeForCausalLM, GPTBigCodeConfig(**sizes)))


def _checkpointed(kind: Any, config: Any) -> nn.Module:
    AttentionInterface.register(UNMASKED, sdpa_attention_forward)
    AttentionMaskInterface.register(UNMASKED, lambda *_, **__: None)
    config._attn_implementation = UNMASKED
    with torch.device("meta"):
        model: nn.Module = kind(config)
    model.gradient_checkpointing_enable()
    return model
