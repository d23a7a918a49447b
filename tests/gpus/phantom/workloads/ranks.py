"""NCCL with one rank, and every parallel wrapper of PyTorch's on it."""

from __future__ import annotations

import json
import warnings
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

warnings.simplefilter("ignore")


def collectives() -> dict[str, Any]:
    x = torch.tensor([3.0, 4.0], device="cuda")
    gathered, scattered = [torch.zeros(2, device="cuda")], torch.empty(2, device="cuda")
    dist.all_reduce(x)
    dist.all_gather(gathered, x)
    dist.reduce_scatter_tensor(scattered, x)
    objects: list[Any] = [None]
    dist.all_gather_object(objects, {"a": 1})
    dist.barrier()
    return {"reduced": x.tolist(), "gathered": gathered[0].tolist(), "scattered": scattered.tolist(), "object": objects}


def trained(model: nn.Module) -> bool:
    model(torch.randn(2, 3, 8, 8, device="cuda")).sum().backward()
    torch.optim.AdamW(model.parameters(), foreach=False).step()
    return all(p.grad is not None for p in model.parameters())


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 4)).cuda()


def sharded() -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 64), nn.Linear(64, 4)).cuda()
    mesh = init_device_mesh("cuda", (1,))
    for layer in (model[1], model[2], model):
        fully_shard(layer, mesh=mesh)
    return model


dist.init_process_group("nccl", rank=0, world_size=1, store=dist.HashStore(), device_id=torch.device("cuda", 0))  # type: ignore[attr-defined]
group: Any = dist.new_group([0])
found = {
    "collectives": collectives(),
    "ddp": trained(nn.parallel.DistributedDataParallel(network(), device_ids=[0])),
    "synchronized batch norm": trained(
        nn.parallel.DistributedDataParallel(nn.SyncBatchNorm.convert_sync_batchnorm(network()))
    ),
    "fsdp2": trained(sharded()),
    "group": dist.get_world_size(group),
}
dist.destroy_process_group()
print(json.dumps(found))
