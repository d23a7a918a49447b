"""Two processes that save a file each and read that of the other, started by torchrun."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist

dist.init_process_group("gloo")
rank = dist.get_rank()
torch.save({"rank": torch.tensor(rank), "zeros": torch.zeros(10_000, device="cuda")}, f"rank{rank}.pt")
dist.barrier()
other = torch.load(f"rank{1 - rank}.pt", map_location="cpu")
listed = sorted(name for name in os.listdir(".") if name.endswith(".pt"))
os.write(1, f"{rank} has read {int(other['rank'])} of {listed}\n".encode())
dist.destroy_process_group()
