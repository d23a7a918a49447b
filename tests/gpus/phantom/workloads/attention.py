"""One attention written by hand, 8 x 4096 x 16 in float32, forward and backward, as published with its memory."""

from __future__ import annotations

import json

import torch
from torch import Tensor


def softmax(x: Tensor) -> Tensor:
    largest = x.max(dim=-1, keepdim=True).values
    numerator = torch.exp(x - largest)
    denominator = torch.sum(numerator, dim=-1, keepdim=True)
    return numerator / denominator


def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    scores = torch.einsum("bqd,bkd->bqk", query, key)
    scores = scores / (query.shape[-1] ** 0.5)
    weights = softmax(scores)
    return torch.einsum("bqk,bkd->bqd", weights, value)


def run() -> dict[str, int]:
    # The tensors live until the figures are read, as they do in the published run.
    inputs = [torch.randn(8, 4096, 16, device="cuda", requires_grad=True) for _ in range(3)]
    output = attention(*inputs)
    loss = output.sum()
    loss.backward()
    return {
        "allocated": torch.cuda.max_memory_allocated(),
        "reserved": torch.cuda.max_memory_reserved(),
        "requested": torch.cuda.memory_stats()["requested_bytes.all.peak"],
        "at_the_end": torch.cuda.memory_allocated(),
    }


print(json.dumps(run()))
