"""The addresses of segments of 40 MiB and of 20 MiB, in turns, one of them freed and requested again."""

from __future__ import annotations

import json

import torch

MIB = 1024**2


def segment(size: int) -> torch.Tensor:
    return torch.empty(size * MIB, dtype=torch.uint8, device="cuda")


kept = [segment(size) for size in (40, 20, 40, 20, 40, 20, 40, 20)]
addresses = [tensor.data_ptr() for tensor in kept]
del kept[2]
torch.cuda.empty_cache()
again = segment(40).data_ptr()
print(json.dumps({"large": addresses[::2], "small": addresses[1::2], "again": again}))
