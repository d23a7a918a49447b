"""The workloads that memprof and the other tools run: plain PyTorch, the same code on any device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torchvision
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A training step, and everything that exists before it: the model, its inputs, an optimizer, a target."""

    step: Callable[[], None]
    model: nn.Module
    inputs: tuple[Tensor, ...]
    others: tuple[Any, ...] = ()

    @property
    def externals(self) -> tuple[Any, ...]:
        """Everything that has memory before the first step."""
        return self.model, *self.inputs, *self.others


class Attention(nn.Module):
    """Dot-product attention written out: scores, a softmax in four operations, and the weighted sum."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return the attention of three tensors of shape (heads, positions, width)."""
        scores = torch.einsum("bqd,bkd->bqk", query, key)
        scores = scores / (query.shape[-1] ** 0.5)
        return torch.einsum("bqk,bkd->bqd", _softmax(scores), value)


def _softmax(scores: Tensor) -> Tensor:
    highest = scores.max(dim=-1, keepdim=True).values
    numerator = torch.exp(scores - highest)
    return numerator / torch.sum(numerator, dim=-1, keepdim=True)


def attention(device: torch.device) -> Workload:
    """Return forward and backward over 8 heads, 4096 positions and width 16, in float32."""
    model = Attention()
    query, key, value = (torch.randn(8, 4096, 16, device=device, requires_grad=True) for _ in range(3))

    def step() -> None:
        query.grad = key.grad = value.grad = None
        output = model(query, key, value)
        loss = output.sum()
        loss.backward()

    return Workload(step=step, model=model, inputs=(query, key, value))


def resnet50(device: torch.device) -> Workload:
    """Return a training step of ResNet-50 with Adam on 32 images, with the loop of PyTorch's tutorials."""
    model = torchvision.models.resnet50().train()
    if device.type != "cpu":  # a model of fake tensors cannot be moved, even to its own device
        model.to(device)
    optimizer = torch.optim.Adam(model.parameters())
    images = torch.randn(32, 3, 224, 224, device=device)
    classes = torch.randint(1000, (32,), device=device)
    alive: dict[str, Any] = {}  # output and loss live until the next step replaces them

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        alive["output"] = model(images)
        alive["loss"] = nn.functional.cross_entropy(alive["output"], classes)
        alive["loss"].backward()
        optimizer.step()

    return Workload(step=step, model=model, inputs=(images,), others=(optimizer, classes))


WORKLOADS: Mapping[str, Callable[[torch.device], Workload]] = {"attention": attention, "resnet50": resnet50}
