"""An ordinary script with DistributedDataParallel."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

device = int(os.environ["LOCAL_RANK"])
torch.cuda.set_device(device)
dist.init_process_group("nccl")
rank = dist.get_rank()
model = DistributedDataParallel(
    nn.Sequential(nn.Linear(512, 1024), nn.ReLU(), nn.Linear(1024, 10)).cuda(), device_ids=[device]
)
optimizer = torch.optim.AdamW(model.parameters())
for _ in range(3):
    optimizer.zero_grad()
    images, labels = torch.randn(16, 512, device="cuda"), torch.randint(10, (16,), device="cuda")
    loss = nn.functional.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    mean = loss.detach().clone()
    dist.all_reduce(mean, op=dist.ReduceOp.AVG)
samples = torch.tensor([16 * (rank + 1)], device="cuda")
dist.all_reduce(samples)
if rank == 0:
    torch.save(model.module.state_dict(), "model.pt")
dist.barrier()
model.module.load_state_dict(torch.load("model.pt", map_location=f"cuda:{device}"))
print(f"{rank}: {samples.item()} samples, loaded\n", end="", flush=True)
dist.destroy_process_group()
