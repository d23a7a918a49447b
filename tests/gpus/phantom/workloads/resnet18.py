"""Two training steps of ResNet-18, 16 images of 128 x 128 in float32. Argument: the name of an optimizer."""

from __future__ import annotations

import json
import sys

import torch
import torchvision

model = torchvision.models.resnet18().cuda()
optimizer = getattr(torch.optim, sys.argv[1])(model.parameters(), lr=1e-3)
images = torch.randn(16, 3, 128, 128, device="cuda")
labels = torch.randint(0, 1000, (16,), device="cuda")
for _ in range(2):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(images), labels).backward()
    optimizer.step()
torch.cuda.synchronize()
print(
    json.dumps(
        {
            "allocated": torch.cuda.max_memory_allocated(),
            "reserved": torch.cuda.max_memory_reserved(),
            "requested": torch.cuda.memory_stats()["requested_bytes.all.peak"],
            "at_the_end": torch.cuda.memory_allocated(),
        }
    )
)
