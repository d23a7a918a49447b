"""Allocates, forgets PyTorch's own peak, runs out of memory, and allocates in a child; prints PyTorch's counters."""

from __future__ import annotations

import json
import os

import torch

MIB = 2**20


def peaks() -> list[int]:
    return [torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()]


child = os.fork()
if not child:
    torch.empty(8 * MIB, dtype=torch.uint8, device="cuda")
    os._exit(0)
os.waitpid(child, 0)

kept = torch.empty(24 * MIB, dtype=torch.uint8, device="cuda")
for size in (1000, 3 * MIB, 40 * MIB):
    torch.empty(size, dtype=torch.uint8, device="cuda")
highest = peaks()
torch.cuda.reset_peak_memory_stats()
refused = 1 << 40
try:
    torch.empty(refused, dtype=torch.uint8, device="cuda")
except torch.OutOfMemoryError:
    wanted = torch.cuda.memory_reserved() + refused
print(json.dumps({"pids": [child, os.getpid()], "peaks": highest, "wanted": wanted, "later": peaks()}))
