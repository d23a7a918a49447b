"""A model of one's own for memprof: a small transformer that tags every token of a sentence.

`own_model.yaml` names the function `build`; its `kwargs` arrive here as keyword arguments.
"""

import torch
from torch import Tensor, nn


class TokenTagger(nn.Module):
    """Token ids in, one score for each tag and token out, as in named-entity recognition."""

    def __init__(self, vocabulary: int, width: int, layers: int, tags: int, longest: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(longest, width)
        layer = nn.TransformerEncoderLayer(width, nhead=width // 64, dim_feedforward=4 * width, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers)
        self.head = nn.Linear(width, tags)

    def forward(self, ids: Tensor) -> Tensor:
        """Return scores of shape (batch, tags, length) for int64 `ids` of shape (batch, length)."""
        positions = torch.arange(ids.shape[1], device=ids.device)
        hidden = self.encoder(self.tokens(ids) + self.positions(positions))
        # cross_entropy wants the classes in the second dimension.
        scores: Tensor = self.head(hidden).transpose(1, 2)
        return scores


def build(vocabulary: int = 30000, width: int = 256, layers: int = 4, tags: int = 9, longest: int = 512) -> nn.Module:
    """Build the model on the CPU; memprof moves it to the GPU itself. `width` is a multiple of 64."""
    return TokenTagger(vocabulary, width, layers, tags, longest)
