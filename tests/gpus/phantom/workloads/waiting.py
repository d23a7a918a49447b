"""A loop that waits for a value that a kernel computes, as generation of text does; it gives up in the end."""

from __future__ import annotations

import sys

import torch

x = torch.zeros((), device="cuda")
for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 3000):
    x.add_(torch.rand((), device="cuda"))
    if (x > 10).item():
        print("ten")
        break
else:
    print("gave up")
