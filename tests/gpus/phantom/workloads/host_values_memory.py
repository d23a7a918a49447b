"""The allocations and frees of training programs, without values of the CPU and with them (`cpu` as an argument)."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
import torchvision
from torch import nn
from torch.nn import functional as F  # noqa: N812  its usual name
from torch.utils.checkpoint import checkpoint

from memprof.gpus.phantom.values import host_values


def train(net: nn.Module, x: torch.Tensor, optimizer: Any = torch.optim.AdamW, **settings: Any) -> None:
    net, x = net.cuda(), x.cuda()
    updates = optimizer(net.parameters(), lr=0.01, **settings)
    scaler = torch.amp.GradScaler("cuda", enabled=x.dtype is torch.float16)
    for _ in range(3):
        updates.zero_grad()
        # The cache of cast weights is freed in the order of addresses on the host, which differ from run to run.
        with torch.autocast("cuda", torch.float16, enabled=scaler.is_enabled(), cache_enabled=False):
            loss = net(x.float() if scaler.is_enabled() else x).float().square().mean()
        scaler.scale(loss).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        scaler.step(updates)
        scaler.update()


class Shared(nn.Module):
    """Gradients of several uses of a weight and of an activation are added up."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(256, 256)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer(x)
        result: torch.Tensor = self.layer(y) + y.sin() * y.cos() + y.tanh()[:, :1]
        return result


class Recomputed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(128, 512), nn.Dropout(), nn.Linear(512, 128)) for _ in "abc"
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = checkpoint(layer, x, use_reentrant=False)
        return x


class Sequence(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.layer = nn.Embedding(1000, 128), nn.TransformerEncoderLayer(128, 4, batch_first=True)
        self.recurrent = nn.GRU(128, 64, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(self.recurrent(self.layer(self.words(x)))[0], self.words.weight[:, :64])


def inferred() -> None:
    net = torchvision.models.resnet18().cuda().eval()
    with torch.inference_mode():
        net(torch.zeros(4, 3, 128, 128, device="cuda"))


PROGRAMS: dict[str, Callable[[], None]] = {
    "resnet18": lambda: train(
        torchvision.models.resnet18(), torch.zeros(2, 3, 128, 128), torch.optim.SGD, momentum=0.9
    ),
    "channels last": lambda: train(
        torchvision.models.resnet18().to(memory_format=torch.channels_last), torch.zeros(2, 3, 96, 96), fused=True
    ),
    "vit": lambda: train(torchvision.models.VisionTransformer(64, 16, 3, 4, 128, 512), torch.zeros(4, 3, 64, 64)),
    "half": lambda: train(
        torchvision.models.VisionTransformer(64, 16, 2, 4, 64, 256), torch.zeros(4, 3, 64, 64).half()
    ),
    "shared": lambda: train(Shared(), torch.zeros(64, 256), foreach=False),
    "recomputed": lambda: train(Recomputed(), torch.zeros(64, 128)),
    "sequence": lambda: train(Sequence(), torch.zeros(8, 32, dtype=torch.long)),
    "inferred": inferred,
}


def events(program: Callable[[], None], values: bool) -> dict[str, Any]:
    torch.manual_seed(0)
    torch.cuda.memory._record_memory_history(context=None, stacks="python")
    with host_values() if values else nullcontext():
        program()
    [trace] = torch.cuda.memory._snapshot()["device_traces"]
    moves = [(event["action"], event["size"], event["addr"]) for event in trace]
    stats = torch.cuda.memory_stats()
    names = ("requested_bytes.all.peak", "allocated_bytes.all.peak", "reserved_bytes.all.peak")
    digest = hashlib.sha256(json.dumps(moves).encode()).hexdigest()
    return {"events": len(moves), "digest": digest, **{name: stats[name] for name in names}}


def in_child(program: Callable[[], None], values: bool) -> dict[str, Any]:
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.write(writing, json.dumps(events(program, values)).encode())
        os._exit(0)
    os.close(writing)
    os.wait()
    with os.fdopen(reading) as pipe:
        found: dict[str, Any] = json.loads(pipe.read())
    return found


if __name__ == "__main__":
    with_values = sys.argv[1:] == ["cpu"]
    print(json.dumps({name: in_child(program, with_values) for name, program in PROGRAMS.items()}))
