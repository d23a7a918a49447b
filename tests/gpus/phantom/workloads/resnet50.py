"""Two training steps of ResNet-50 with Adam: batch 32 of 224 x 224 in float32."""

from __future__ import annotations

import json

import torch
import torchvision

from memprof.gpus.phantom.runtime import unknown_workspaces

model = torchvision.models.resnet50().cuda()
optimizer = torch.optim.Adam(model.parameters())
images = torch.randn(32, 3, 224, 224, device="cuda")
labels = torch.randint(0, 1000, (32,), device="cuda")
for _ in range(2):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(images), labels).backward()
    optimizer.step()
print(
    json.dumps(
        {
            "allocated": torch.cuda.max_memory_allocated(),
            "reserved": torch.cuda.max_memory_reserved(),
            "unknown": unknown_workspaces(),
        }
    )
)
