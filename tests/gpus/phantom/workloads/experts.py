"""Mixtures of experts with random routers: tokens of each expert, and the memory that they imply."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  its usual name

from memprof.gpus.phantom.runtime import zeros_read
from memprof.gpus.phantom.values import ExpertRouting, host_values

WIDTH, HIDDEN, EXPERTS, TOKENS = 64, 256, 8, 200


def expert() -> nn.Module:
    return nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, WIDTH))


class DeepSeekLike(nn.Module):
    """Groups of experts are chosen first; each expert then takes its tokens with `where`, in a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.router, self.experts = nn.Linear(WIDTH, EXPERTS), nn.ModuleList(expert() for _ in range(EXPERTS))
        self.counts: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        scores = self.router(x).sigmoid()
        groups = scores.view(-1, 4, 2).topk(2, dim=-1)[0].sum(-1).topk(2, dim=-1)[1]
        mask = torch.zeros(len(x), 4, device=x.device).scatter_(1, groups, 1.0).repeat_interleave(2, 1)
        chosen = scores.masked_fill(mask == 0, float("-inf")).topk(3, dim=-1)[1]
        weights = scores.gather(1, chosen)
        self.counts = torch.bincount(chosen.flatten(), minlength=EXPERTS).tolist()
        out = torch.zeros_like(x)
        for number, network in enumerate(self.experts):
            if self.counts[number]:
                token, place = torch.where(chosen == number)
                out[token] += network(x[token]) * weights[token, place, None]
        return out


class TorchtitanLike(nn.Module):
    """Tokens are sorted by expert, and split into one part for each."""

    def __init__(self) -> None:
        super().__init__()
        self.router, self.experts = nn.Linear(WIDTH, EXPERTS), nn.ModuleList(expert() for _ in range(EXPERTS))
        self.counts: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        weights, chosen = F.softmax(self.router(x), -1, dtype=torch.float32).topk(2)
        numbers = chosen.flatten()
        counts = torch.histc(numbers if x.is_cuda else numbers.float(), EXPERTS, 0, EXPERTS - 1)  # the CPU has no more
        order = chosen.flatten().argsort(stable=True)
        self.counts = counts.int().tolist()
        routed = x[order // 2] * weights.flatten()[order, None]
        parts = torch.split(routed, self.counts)
        done = torch.cat([network(part) for network, part in zip(self.experts, parts, strict=True)])
        return torch.zeros_like(x).index_add(0, order // 2, done)


class MixtralOfTransformers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        from transformers import MixtralConfig, MixtralForCausalLM

        sizes: dict[str, Any] = {
            "hidden_size": WIDTH,
            "intermediate_size": HIDDEN,
            "num_hidden_layers": 2,
            "vocab_size": 256,
        }
        heads: dict[str, Any] = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": EXPERTS}
        self.net = MixtralForCausalLM(MixtralConfig(**sizes, **heads))
        self.counts: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        tokens = (torch.arange(2 * 64, device=x.device) * 7 % 256).view(2, 64)
        answer = self.net(input_ids=tokens, labels=tokens, output_router_logits=True)
        self.counts = [
            count for each in answer.router_logits for count in each.topk(2)[1].flatten().bincount(minlength=8).tolist()
        ]
        loss: Tensor = answer.loss
        return loss


LAYERS: dict[str, Callable[[], Any]] = {"deepseek": DeepSeekLike, "torchtitan": TorchtitanLike}
if find_spec("transformers"):
    LAYERS["mixtral"] = MixtralOfTransformers


def trained(layer: Callable[[], Any], device: str) -> dict[str, Any]:
    """Three steps; the routers change with the weights."""
    torch.manual_seed(0)
    net = layer().to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    x = torch.randn(TOKENS, WIDTH, generator=torch.Generator().manual_seed(1)).to(device)
    counts, losses = [], []
    for _ in range(3):
        optimizer.zero_grad()
        loss = net(x).square().mean()
        if loss.requires_grad:  # with zeros, no expert gets a token
            loss.backward()
        optimizer.step()
        counts.append(net.counts)
        losses.append(loss.item())
    return {"counts": counts, "losses": losses, "peak": torch.cuda.max_memory_allocated() if device == "cuda" else 0}


def with_values(layer: Callable[[], Any]) -> dict[str, Any]:
    torch.cuda.reset_peak_memory_stats()
    with host_values() as cost:
        reads = zeros_read() or 0
        return {**trained(layer, "cuda"), "missing": cost.missing, "reads": (zeros_read() or 0) - reads}


def with_routing(layer: Callable[[], Any], times: float) -> dict[str, Any]:
    """Train with experts that a routing chooses; values of weights stay unknown."""
    torch.manual_seed(0)
    routing = ExpertRouting(times)
    net = layer()
    routing.watch(net)
    torch.cuda.reset_peak_memory_stats()
    with host_values(routing, computes_all=False) as cost:
        reads = zeros_read() or 0
        found = trained(lambda: net, "cuda")
        found["reads"] = (zeros_read() or 0) - reads
    return {**found, "choices": routing.choices, "run": cost.operators_run, "host_bytes": cost.memory.peak_bytes}


def with_zeros(layer: Callable[[], Any]) -> dict[str, Any]:
    torch.cuda.reset_peak_memory_stats()
    reads = zeros_read() or 0
    try:
        found = trained(layer, "cuda")
    except RuntimeError as error:  # for instance from split, since counts of zero do not add up
        found = {"error": str(error)}
    return {**found, "reads": (zeros_read() or 0) - reads}


def requested() -> int:
    return int(torch.cuda.memory_stats()["requested_bytes.all.current"])


def kept_by(network: nn.Module, tokens: int) -> int:
    """What autograd keeps of an expert's forward pass, with its input and output."""
    before = requested()
    x = torch.ones(tokens, WIDTH, device="cuda")
    out = network(x)
    return requested() - before if out.requires_grad else 0


def implied() -> list[int]:
    """What the experts of a layer keep for their tokens, and the same for experts that get as many tokens directly."""
    torch.manual_seed(0)
    net = TorchtitanLike()
    chosen = torch.randn(TOKENS, WIDTH, generator=torch.Generator().manual_seed(1))
    net(chosen)
    counts, kept = net.counts, []

    def measure(network: nn.Module, inputs: tuple[Tensor]) -> None:
        before[network] = requested() - inputs[0].numel() * 4

    before: dict[nn.Module, int] = {}
    net = net.cuda()
    direct = sum(kept_by(network, count) for network, count in zip(net.experts, counts, strict=True))
    for network in net.experts:
        network.register_forward_pre_hook(measure)
        network.register_forward_hook(lambda network, _given, _out: kept.append(requested() - before[network]))
    with host_values():
        moved = chosen.cuda()
        net.cpu().cuda()  # so that the host knows the weights
        net(moved)
    return [sum(kept), direct]


if __name__ == "__main__":
    found: dict[str, Any] = {}
    for name, layer in LAYERS.items():
        with nullcontext():
            found[name] = {"cpu": trained(layer, "cpu"), "values": with_values(layer), "zeros": with_zeros(layer)}
            found[name] |= {"balanced": with_routing(layer, 1), "worst": with_routing(layer, 2)}
    print(json.dumps({"layers": found, "implied": implied()}))
