"""Explain the peak of your own training loop. Run it on a GPU, or without one on a phantom GPU:

memprof run --gpu rtx-4090 -- python examples/track_training_loop.py
"""

import torch
from torch import nn

from memprof import track

model = nn.Sequential(
    nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)
).cuda()
optimizer = torch.optim.AdamW(model.parameters())

with track(model, optimizer) as tracked:  # before the first step
    for _ in range(3):
        images = torch.randn(64, 3, 128, 128).cuda()
        classes = torch.randint(10, (64,)).cuda()
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), classes)
        loss.backward()
        optimizer.step()

explanation = tracked.explain().explanation
for category, size in explanation.allocated_parts.items():
    print(f"{category:<16}{size / 2**20:9.2f} MiB")
print(f"{'peak allocated':<16}{explanation.peak_allocated_bytes / 2**20:9.2f} MiB")
