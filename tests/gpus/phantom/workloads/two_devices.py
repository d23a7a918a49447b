"""Two GPUs, each with its own memory."""

from __future__ import annotations

import json

import torch

GIB = 1 << 30
held = [torch.empty(size * GIB, dtype=torch.uint8, device=f"cuda:{index}") for index, size in enumerate((3, 1))]
torch.empty(8, device="cuda:0").copy_(torch.ones(8, device="cuda:1"))
used = [total - free for free, total in map(torch.cuda.mem_get_info, range(2))]
print(json.dumps({"count": torch.cuda.device_count(), "used": used, "held": [x.nbytes for x in held]}))
