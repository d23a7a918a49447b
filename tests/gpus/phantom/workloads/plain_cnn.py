"""Two training steps of two convolutions, and the number of unknown workspaces before, between and after."""

from __future__ import annotations

import ctypes
import json

import torch
from torch import nn

from memprof.gpus.phantom.runtime import unknown_workspaces

unknown = [unknown_workspaces()]
model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3)).cuda()
for _ in range(2):
    model(torch.randn(2, 3, 16, 16, device="cuda")).sum().backward()
    unknown.append(unknown_workspaces())
print(
    json.dumps(
        {
            "unknown": unknown,
            "steps": len(unknown) - 1,
            "gradients": all(p.grad is not None for p in model.parameters()),
            "answers": bool(ctypes.CDLL(None).phantom_cudnn_answers()),
            "allocated": torch.cuda.max_memory_allocated(),
        }
    )
)
