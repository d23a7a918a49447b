"""FSDP2 of 6.4 billion parameters as rank 0 of 1024; the other ranks are PyTorch's backend `fake`."""

from __future__ import annotations

import json
import resource

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.testing._internal.distributed.fake_pg import FakeStore

dist.init_process_group("fake", rank=0, world_size=1024, store=FakeStore())
mesh = init_device_mesh("cuda", (1024,))
with torch.device("meta"):
    model = nn.Sequential(
        *(nn.TransformerEncoderLayer(4096, 32, 16384, dropout=0.0, batch_first=True) for _ in range(32))
    )
parameters = sum(p.numel() for p in model.parameters())
policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16)
for layer in model:
    fully_shard(layer, mesh=mesh, mp_policy=policy)
fully_shard(model, mesh=mesh, mp_policy=policy)
model.to_empty(device="cuda")
optimizer = torch.optim.AdamW(model.parameters())
for _ in range(2):
    optimizer.zero_grad()
    model(torch.zeros(1, 1024, 4096, device="cuda", dtype=torch.bfloat16)).sum().backward()
    optimizer.step()
print(
    json.dumps(
        {
            "parameters": parameters,
            "peak": torch.cuda.max_memory_allocated(),
            "host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
    )
)
