"""An ordinary script with FSDP2; the backend can be `fake`. It prints what PyTorch's allocator counted."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

FIGURES = (
    "allocated_bytes.all.peak",
    "reserved_bytes.all.peak",
    "requested_bytes.all.peak",
    "allocation.all.allocated",
)

rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
if os.environ.get("BACKEND") == "fake":
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", rank=rank, world_size=world, store=FakeStore())
else:
    dist.init_process_group("nccl")
model = nn.Sequential(*[nn.TransformerEncoderLayer(512, 8, 2047, batch_first=True) for _ in range(4)]).cuda()
mesh = init_device_mesh("cuda", (world,))
policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
for block in (*model, model):
    fully_shard(block, mesh=mesh, mp_policy=policy)
optimizer = torch.optim.AdamW(model.parameters())
for _ in range(3):
    model(torch.randn(4, 128, 512, device="cuda")).float().sum().backward()
    optimizer.step()
    optimizer.zero_grad()
statistics = torch.cuda.memory_stats()
print(f"{rank}: {[statistics[name] for name in FIGURES]}\n", end="", flush=True)
dist.destroy_process_group()
