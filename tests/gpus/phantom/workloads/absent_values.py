"""Values with absent ranks: collectives on the host, and DDP that trains as one process does with the same batch."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  its usual name
from torch.nn.parallel import DistributedDataParallel

from memprof.config.parallel import ParallelConfig
from memprof.gpus.phantom.runtime import set_absent_peers, zeros_read
from memprof.gpus.phantom.values import host_values
from memprof.workload.parallel.world import finish_collectives, open_mesh

RANKS, RANK, STEPS = 4, 2, 3
LARGE = 100_000  # elements: more than the phantom itself keeps values of


def mine(*shape: int) -> Tensor:
    """Values that only the host knows."""
    count = torch.Size(shape).numel()
    return (torch.arange(count, device="cuda") + 1).float().view(shape).sqrt()


def collectives() -> dict[str, Any]:
    """Differences of what each collective gives from what it is, with equal values on all ranks."""
    x, whole = mine(LARGE), mine(RANKS, LARGE)
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for name, expected in {"SUM": RANKS * x, "AVG": x, "MAX": x, "MIN": x, "PRODUCT": x**RANKS}.items():
        reduced = x.clone()
        dist.all_reduce(reduced, op=getattr(dist.ReduceOp, name))
        found[name] = reduced, expected
    gathered, parts, exchanged = torch.empty_like(whole), torch.empty_like(x), torch.empty_like(whole)
    listed, scattered, sent = [torch.empty_like(x) for _ in range(RANKS)], torch.empty_like(x), x.clone()
    dist.all_gather_into_tensor(gathered, x)
    dist.all_gather(listed, x)
    dist.reduce_scatter_tensor(parts, whole)
    dist.reduce_scatter(scattered, list(whole))
    dist.all_to_all_single(exchanged, whole)
    dist.broadcast(sent, src=0)
    repeated = x.expand(RANKS, LARGE)
    found |= {
        "gathered": (gathered, repeated),
        "listed": (torch.stack(listed), repeated),
        "reduced and scattered": (parts, RANKS * whole[RANK]),
        "from a list": (scattered, RANKS * whole[RANK]),
        "exchanged": (exchanged, whole[RANK].expand(RANKS, LARGE)),
        "broadcast": (sent, x),
    }
    return {name: (one - other).abs().max().item() for name, (one, other) in found.items()}


class Selected(nn.Module):
    """Keeps rows whose score is positive: how many decides its memory."""

    def __init__(self) -> None:
        super().__init__()
        self.score, self.rest = nn.Linear(64, 1), nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 8))
        self.kept: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        score = self.score(x).squeeze(-1)
        rows = x[score > 0]
        self.kept.append(len(rows))
        return self.rest(rows).square().mean() + score.sigmoid().mean()  # type: ignore[no-any-return]


def trained(device: str, *, parallel: bool) -> dict[str, Any]:
    torch.manual_seed(0)
    model = Selected().to(device)
    x = torch.randn(512, 64, generator=torch.Generator().manual_seed(1)).to(device)
    called = DistributedDataParallel(model, device_ids=[0]) if parallel else model
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9), []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = called(x)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if parallel:
            finish_collectives()
    return {"losses": losses, "kept": model.kept}


def events() -> list[tuple[str, int]]:
    """The allocations and frees of DDP with a model that reads no values."""
    torch.cuda.memory._record_memory_history(context=None, stacks="python")
    model = DistributedDataParallel(nn.Sequential(nn.Linear(64, 2000), nn.ReLU(), nn.Linear(2000, 64)).cuda())
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(STEPS):
        optimizer.zero_grad()
        F.mse_loss(model(mine(32, 64)), torch.zeros(32, 64, device="cuda")).backward()
        optimizer.step()
        torch.cuda.synchronize()
        finish_collectives()
    [history] = torch.cuda.memory._snapshot()["device_traces"]
    torch.cuda.memory._record_memory_history(enabled=None)
    return [(event["action"], event["size"]) for event in history]


def main() -> dict[str, Any]:
    with host_values() as cost:
        found: dict[str, Any] = {"differences": collectives(), "ddp": trained("cuda", parallel=True)}
    reads = zeros_read()
    return {**found, "cpu": trained("cpu", parallel=False), "reads": reads, "missing": cost.missing}


def only_events(values: str) -> dict[str, Any]:
    with host_values() if values == "cpu" else nullcontext():
        return {"events": events()}


if __name__ == "__main__":
    set_absent_peers(None)
    open_mesh(ParallelConfig.model_validate({"mesh": {"replicate": RANKS}, "ranks": [RANK]}), torch.device("cuda", 0))
    print(json.dumps(only_events(sys.argv[1]) if sys.argv[1:] else main()))
