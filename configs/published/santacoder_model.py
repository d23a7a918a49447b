"""SantaCoder with the loss of transformers 4.45, which the published run had. It needs transformers.

Newer versions compute the loss in float32; that version kept the logits of this model in the dtype of its weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import GPTBigCodeConfig, GPTBigCodeForCausalLM


class SantaCoder(nn.Module):
    """The model with the loss of its labels, shifted by one token as in GPTBigCodeForCausalLM."""

    def __init__(self, model: GPTBigCodeForCausalLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, labels: Tensor) -> Tensor:
        logits = self.model(input_ids=input_ids, use_cache=False).logits
        shifted = logits[..., :-1, :].contiguous()
        return nn.functional.cross_entropy(shifted.view(-1, shifted.size(-1)), labels[..., 1:].contiguous().view(-1))


def build(**sizes: int) -> nn.Module:
    """Return the model without memory for its weights, with gradient checkpointing."""
    with torch.device("meta"):
        model = GPTBigCodeForCausalLM(GPTBigCodeConfig(**sizes))
    model.gradient_checkpointing_enable()
    return SantaCoder(model)
