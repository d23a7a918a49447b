"""Training under torch.compile: kernels are compiled for the phantom's architecture, and none is executed."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import torch
from torch import nn

mode = sys.argv[1]
model = nn.Sequential(
    nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 64), nn.LayerNorm(64), nn.GELU(),
    nn.Linear(64, 10),
).cuda()  # fmt: skip
compiled = torch.compile(model, mode=None if mode == "default" else mode)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x, y = torch.randn(4, 3, 8, 8, device="cuda"), torch.zeros(4, dtype=torch.long, device="cuda")
allocated = []
for _ in range(5):
    torch.compiler.cudagraph_mark_step_begin()
    optimizer.zero_grad()
    nn.functional.cross_entropy(compiled(x), y).backward()
    optimizer.step()
    allocated.append(torch.cuda.memory_allocated())

from torch._dynamo.utils import counters  # noqa: E402  counted by now
from torch._inductor import metrics  # noqa: E402
from triton.runtime.driver import driver  # noqa: E402

folder = Path(os.environ["TRITON_CACHE_DIR"])
targets = {match[1] for path in folder.rglob("*.ptx") for match in re.finditer(r"\.target (\w+)", path.read_text())}
print(
    json.dumps(
        {
            "kernels": metrics.generated_kernel_count,
            "binaries": len(list(folder.rglob("*.cubin"))),
            "targets": sorted(targets),
            "graph_breaks": sum(counters["graph_break"].values()),
            "skipped_graphs": counters["inductor"]["cudagraph_skips"],
            "private_pools": sum(segment["segment_pool_id"] != (0, 0) for segment in torch.cuda.memory_snapshot()),
            "gradients": all(p.grad is not None for p in model.parameters()),
            "allocated": allocated,
            "properties": driver.active.utils.get_device_properties(0),
        }
    )
)
