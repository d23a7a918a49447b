"""Print which exception ends an allocation in a capture that no GPU could serve (test_graph_capture_oom of PyTorch)."""

from __future__ import annotations

import json

import torch

torch.zeros(1, device="cuda")
torch.cuda.synchronize()
found = {}
try:
    with torch.cuda.graph(torch.cuda.CUDAGraph()):
        try:
            torch.zeros(1 << 40, device="cuda")
        except Exception as error:
            found = {"kind": type(error).__name__, "text": str(error).splitlines()[0]}
            raise
except Exception as error:  # noqa: BLE001  what leaves the block may be another one
    found["left_the_block"] = type(error).__name__
print(json.dumps(found))
