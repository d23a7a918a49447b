"""Eight GPUs of one process: each with its own memory, and DataParallel over all of them."""

from __future__ import annotations

import json
import warnings

import torch
from torch import nn

GIB = 1 << 30
warnings.simplefilter("ignore")
held = [torch.empty((1 + i) * GIB, dtype=torch.uint8, device=f"cuda:{i}") for i in range(8)]
taken = [torch.cuda.memory_allocated(i) for i in range(8)]
try:
    torch.empty(75 * GIB, dtype=torch.uint8, device="cuda:7")
    refused = "granted"
except torch.OutOfMemoryError as error:
    refused = str(error)
fits = torch.empty(75 * GIB, dtype=torch.uint8, device="cuda:0").device.index
del held
torch.cuda.empty_cache()
model = nn.DataParallel(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(288, 10)).cuda())
optimizer = torch.optim.Adam(model.parameters())
for _ in range(2):
    optimizer.zero_grad()
    model(torch.randn(16, 3, 8, 8, device="cuda")).sum().backward()
    optimizer.step()
streams = [torch.cuda.current_stream(i).device.index for i in range(8)]
used = [total - free for free, total in map(torch.cuda.mem_get_info, range(8))]
print(
    json.dumps(
        {
            "count": torch.cuda.device_count(),
            "taken": taken,
            "refused": refused,
            "fits": fits,
            "streams": streams,
            "parallel": [torch.cuda.memory_allocated(i) > 0 for i in range(8)],
            "used": used,
            "gradients": all(p.grad is not None for p in model.parameters()),
        }
    )
)
