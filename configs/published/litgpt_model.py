"""The models of litgpt with the loss of its finetuning scripts. They need lightning, bitsandbytes and litgpt.

litgpt's own classes are used, without memory for the weights, since their values do not change what memory is taken.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import bitsandbytes
import torch
from lightning.fabric.plugins.precision import HalfPrecision
from litgpt import lora as adapted
from litgpt import model as plain
from litgpt.utils import chunked_cross_entropy
from torch import Tensor, nn

MAX_SEQ_LENGTH = 512  # train.max_seq_length of all finetuning configs
CHUNK = 128  # lm_head_chunk_size of litgpt/finetune/lora.py


class Finetuning(nn.Module):
    """A model that returns the loss of its labels, as the loops of litgpt/finetune compute it under Fabric.

    Their variable `logits` keeps the previous logits until the model has returned new ones; so does the attribute.
    """

    def __init__(self, model: nn.Module, chunk: int) -> None:
        super().__init__()
        self.model = model
        self.chunk = chunk
        self.logits: Any = None

    def forward(self, input_ids: Tensor, labels: Tensor) -> Tensor:
        arguments = {"lm_head_chunk_size": self.chunk} if self.chunk else {}
        self.logits = HalfPrecision("bf16-true").convert_output(self.model(input_ids, **arguments))
        if not self.chunk:
            return chunked_cross_entropy(self.logits[..., :-1, :], labels[..., 1:])
        self.logits[-1] = self.logits[-1][..., :-1, :]
        return chunked_cross_entropy(self.logits, labels[..., 1:])


def full(name: str) -> nn.Module:
    """Return the model called `name` with all weights trained, as litgpt/finetune/full.py does."""
    return Finetuning(_on_meta(plain, name), 0)


def lora(name: str, r: int, **enabled: bool) -> nn.Module:
    """Return the model called `name` with adapters of rank `r` on the layers that are `enabled`: lora_query=True."""
    model = _on_meta(adapted, name, lora_r=r, lora_alpha=16, lora_dropout=0.05, **enabled)
    adapted.mark_only_lora_as_trainable(model)
    return Finetuning(model, CHUNK)


def qlora(name: str, r: int, **enabled: bool) -> nn.Module:
    """Return the model of `lora` for a config that quantizes it, with the 4-bit product of bitsandbytes 0.42."""
    bitsandbytes.matmul_4bit = _Product.multiply
    return lora(name, r, **enabled)


class _Product(torch.autograd.Function):
    """The product that litgpt's runs had: version 0.42, which litgpt asks for, keeps the input, and newer ones do not.

    Both passes have the whole weight in 16 bits for a moment: in float16, in which Fabric packs it, and in bfloat16.
    """

    @staticmethod
    def multiply(x: Tensor, weight: Tensor, quant_state: Any, bias: Tensor | None = None) -> Tensor:
        return _Product.apply(x, weight.t() if weight.shape[0] == 1 else weight, quant_state, bias)

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, state: Any, bias: Tensor | None) -> Tensor:
        ctx.kept, ctx.weight, ctx.state = x, weight, state
        state.dtype = torch.float16
        return nn.functional.linear(x, bitsandbytes.functional.dequantize_4bit(weight, state).to(x.dtype), bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        weight = bitsandbytes.functional.dequantize_4bit(ctx.weight, ctx.state).to(gradient.dtype)
        return torch.matmul(gradient, weight), None, None, None


def _on_meta(module: ModuleType, name: str, **settings: Any) -> nn.Module:
    with torch.device("meta"):
        model = module.GPT.from_name(name, **settings)
        model.max_seq_length = MAX_SEQ_LENGTH
    return model
