"""Two models of the test cases that no library has; the configs name them as a user names a model file."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Encoder(nn.Module):
    """A transformer encoder with a score for each position and token of the vocabulary."""

    def __init__(self, vocabulary: int = 8000, width: int = 256, layers: int = 4) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        layer = nn.TransformerEncoderLayer(width, nhead=4, dim_feedforward=4 * width, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, ids: Tensor) -> Tensor:
        """Return scores of shape (batch, vocabulary, length) for int64 `ids` of shape (batch, length)."""
        scores: Tensor = self.head(self.encoder(self.tokens(ids))).transpose(1, 2)
        return scores


class Attention(nn.Module):
    """Dot-product attention of three projections, with the softmax written as four operations."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return the attention of three tensors of shape (batch, positions, width)."""
        scores = torch.einsum("bqd,bkd->bqk", self.query(query), self.key(key)) / query.shape[-1] ** 0.5
        numerator = torch.exp(scores - scores.max(dim=-1, keepdim=True).values)
        weights = numerator / torch.sum(numerator, dim=-1, keepdim=True)
        return torch.einsum("bqk,bkd->bqd", weights, self.value(value))


def encoder() -> nn.Module:
    """Build the transformer encoder."""
    return Encoder()


def attention() -> nn.Module:
    """Build the attention that is written without PyTorch's own."""
    return Attention()
