"""Llama-3.2-3B of torchtune with the loss of its recipes. It needs: pip install torchtune==0.6.1 torchao==0.9.0.

torchtune's own classes are used, without memory for the weights, since their values do not change what memory is taken.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torchtune import training
from torchtune.models.llama3_2 import llama3_2_3b, lora_llama3_2_3b
from torchtune.modules import TransformerSelfAttentionLayer
from torchtune.modules.attention_utils import packed_block_causal_mask
from torchtune.modules.loss import CEWithChunkedOutputLoss
from torchtune.modules.peft import get_adapter_params, set_trainable_params
from torchtune.training import get_act_offloading_ctx_manager

# Of recipes/configs/llama3_2/3B_lora_single_device.yaml
LORA = {
    "lora_attn_modules": ["q_proj", "v_proj", "output_proj"],
    "apply_lora_to_mlp": True,
    "lora_rank": 64,
    "lora_alpha": 128,
}


class Recipe(nn.Module):
    """A decoder that returns the loss of its labels, as recipes/full_finetune_single_device.py computes it."""

    def __init__(self, decoder: nn.Module, loss: nn.Module, offloading: bool) -> None:
        super().__init__()
        self.decoder = decoder
        self.loss = loss
        self.offloading = offloading
        self.mask: Any = None
        self.context: AbstractContextManager[Any] | None = None

    def forward(self, tokens: Tensor, labels: Tensor) -> Tensor:
        if self.context is None and type(tokens) is Tensor and tokens.is_cuda:  # not in a run without values
            # One sample fills each pack of the dataset: which tokens see which others does not change the memory.
            self.mask = packed_block_causal_mask([torch.tensor([tokens.size(1)])] * tokens.size(0))
            # Without the output layer, whose weight would be copied to the host for each chunk of LoRA's loss.
            self.context = get_act_offloading_ctx_manager(self.decoder, self.offloading)
        with self.context or nullcontext():
            logits = self.decoder(tokens=tokens, mask=self.mask)
        labels = torch.hstack((labels[..., 1:], torch.full_like(labels[:, :1], -100)))
        if not isinstance(logits, list):
            labels = labels.reshape(-1)
            logits = logits.reshape(-1, logits.size(-1))
        return self.loss(logits, labels)


def build(
    compiled: bool = False,
    chunked: bool = False,
    checkpointing: bool = False,
    offloading: bool = False,
    lora: bool = False,
    quantized: bool = False,
) -> nn.Module:
    """Return the model; each argument is one technique of the table in torchtune's README."""
    with training.set_default_dtype(torch.bfloat16), torch.device("meta"):
        decoder = lora_llama3_2_3b(**LORA, quantize_base=quantized) if lora else llama3_2_3b()
    for module in decoder.modules():
        if hasattr(module, "rope_init"):  # on the meta device, the constructor leaves it out
            module.rope_init()
    decoder.to("meta")
    if lora:
        set_trainable_params(decoder, get_adapter_params(decoder))
    loss: nn.Module = CEWithChunkedOutputLoss() if chunked else nn.CrossEntropyLoss(ignore_index=-100)
    if chunked:
        decoder.set_num_output_chunks(loss.num_output_chunks)
    if compiled:
        training.compile_model(decoder, verbose=False)
        training.compile_loss(loss, verbose=False)
    if checkpointing:
        training.set_activation_checkpointing(decoder, auto_wrap_policy={TransformerSelfAttentionLayer})
    return Recipe(decoder, loss, offloading)
