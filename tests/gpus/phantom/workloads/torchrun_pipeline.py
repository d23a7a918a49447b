"""An ordinary script with a pipeline of two stages, which learn the shapes of what they receive."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B

torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
dist.init_process_group("nccl")
rank = dist.get_rank()
module = (nn.Sequential(nn.Embedding(100, 64), nn.Linear(64, 96)) if rank == 0 else nn.Linear(96, 100)).cuda()
stage = PipelineStage(module, rank, 2, torch.device("cuda", torch.cuda.current_device()))


def loss_of(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(output.flatten(0, 1), target.flatten())


schedule = Schedule1F1B(stage, 4, loss_fn=loss_of)
texts = torch.randint(0, 100, (8, 16), device="cuda")
for _ in range(2):
    output = schedule.step(texts) if rank == 0 else schedule.step(target=texts)
shape = None if output is None else tuple(output.shape)
trained = all(parameter.grad is not None for parameter in module.parameters())
print(f"{rank}: output {shape}, trained {trained}\n", end="", flush=True)
dist.destroy_process_group()
