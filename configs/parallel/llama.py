"""Llama as torchtitan trains it: the layer names of Meta's code, so that tensor parallelism finds its plan.

`checkpointing` is none, full (each block recomputes everything) or selective (each block keeps the results of attention
and of every second matrix product), as in torchtitan.
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

ATEN = torch.ops.aten
KEPT = {
    ATEN.mm.default,
    ATEN._scaled_dot_product_efficient_attention.default,
    ATEN._scaled_dot_product_flash_attention.default,
    ATEN._scaled_dot_product_cudnn_attention.default,
    torch.ops._c10d_functional.reduce_scatter_tensor.default,
}


class Attention(nn.Module):
    """Grouped-query attention."""

    def __init__(self, size: int, heads: int, kv_heads: int) -> None:
        super().__init__()
        self.head_dim = size // heads
        self.wq = nn.Linear(size, heads * self.head_dim, bias=False)
        self.wk = nn.Linear(size, kv_heads * self.head_dim, bias=False)
        self.wv = nn.Linear(size, kv_heads * self.head_dim, bias=False)
        self.wo = nn.Linear(heads * self.head_dim, size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        q, k, v = (
            layer(x).view(batch, tokens, -1, self.head_dim).transpose(1, 2) for layer in (self.wq, self.wk, self.wv)
        )
        repeats = q.size(1) // k.size(1)
        mixed = functional.scaled_dot_product_attention(
            q, k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1), is_causal=True
        )
        return self.wo(mixed.transpose(1, 2).reshape(batch, tokens, -1))


class FeedForward(nn.Module):
    """A gated feed-forward network."""

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(size, hidden, bias=False)
        self.w2 = nn.Linear(hidden, size, bias=False)
        self.w3 = nn.Linear(size, hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(functional.silu(self.w1(x)) * self.w3(x))


class Block(nn.Module):
    """Attention and feed-forward, each with a norm in front and a residual connection."""

    def __init__(self, size: int, heads: int, kv_heads: int, hidden: int, checkpointing: str) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(size)
        self.attention = Attention(size, heads, kv_heads)
        self.ffn_norm = nn.RMSNorm(size)
        self.feed_forward = FeedForward(size, hidden)
        self.checkpointing = checkpointing

    def forward(self, x: Tensor) -> Tensor:
        if self.checkpointing == "none" or not torch.is_grad_enabled():
            return self.run(x)
        contexts = {} if self.checkpointing == "full" else {"context_fn": keep_every_second_product}
        return checkpoint(self.run, x, use_reentrant=False, preserve_rng_state=False, **contexts)

    def run(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.feed_forward(self.ffn_norm(x))


class Llama(nn.Module):
    """A decoder that returns the loss of its labels: the cross-entropy of logits in float32, as in torchtitan.

    Without labels it returns the logits; a stage of a pipeline that is not the last returns what its blocks give.
    """

    def __init__(
        self, vocab: int, layers: int, size: int, heads: int, kv_heads: int, hidden: int, checkpointing: str
    ) -> None:
        super().__init__()
        self.tok_embeddings = nn.Embedding(vocab, size)
        self.layers = nn.ModuleList(Block(size, heads, kv_heads, hidden, checkpointing) for _ in range(layers))
        self.norm = nn.RMSNorm(size)
        self.output = nn.Linear(size, vocab, bias=False)

    def forward(self, tokens: Tensor, labels: Tensor | None = None) -> Tensor:
        x = self.tok_embeddings(tokens)
        for layer in self.layers:
            x = layer(x)
        logits = self.output(self.norm(x))
        if labels is None:
            return logits
        return functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())


def keep_every_second_product() -> tuple[Any, Any]:
    """Return the contexts of torchtitan's selective checkpointing per operation."""
    return create_selective_checkpoint_contexts(partial(_policy, defaultdict(int)))


def _policy(products: dict[bool, int], context: Any, operation: Any, *_: Any, **__: Any) -> CheckpointPolicy:
    if operation == ATEN.mm.default:
        products[context.is_recompute] += 1
        if products[context.is_recompute] % 2 == 0:
            return CheckpointPolicy.PREFER_RECOMPUTE
    return CheckpointPolicy.MUST_SAVE if operation in KEPT else CheckpointPolicy.PREFER_RECOMPUTE


def build(
    vocab: int = 128256,
    layers: int = 32,
    size: int = 4096,
    heads: int = 32,
    kv_heads: int = 8,
    hidden: int = 14336,
    checkpointing: str = "none",
) -> nn.Module:
    """Return a Llama; the default sizes are those of Llama-3-8B."""
    return Llama(vocab, layers, size, heads, kv_heads, hidden, checkpointing)
