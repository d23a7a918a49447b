"""An ordinary script that saves and loads a distributed checkpoint."""

from __future__ import annotations

import os
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
dist.init_process_group("nccl")
rank = dist.get_rank()
model = nn.Sequential(*[nn.Linear(64, 64) for _ in range(3)]).cuda()
mesh = init_device_mesh("cuda", (dist.get_world_size(),))
for layer in (*model, model):
    fully_shard(layer, mesh=mesh)
optimizer = torch.optim.AdamW(model.parameters())
model(torch.randn(4, 64, device="cuda")).sum().backward()
optimizer.step()
optimizer.zero_grad()
weights, state = get_state_dict(model, optimizer)
save({"model": weights, "optimizer": state, "epoch": 3}, checkpoint_id="checkpoint")
loaded: dict[str, Any] = {"model": weights, "optimizer": state, "epoch": 0}
load(loaded, checkpoint_id="checkpoint")
set_state_dict(model, optimizer, model_state_dict=loaded["model"], optim_state_dict=loaded["optimizer"])
print(f"{rank}: epoch {loaded['epoch']} of {sorted(os.listdir('checkpoint'))}\n", end="", flush=True)
dist.destroy_process_group()
