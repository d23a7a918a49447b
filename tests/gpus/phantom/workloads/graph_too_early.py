"""A matrix product whose first call is within the capture of a CUDA graph."""

from __future__ import annotations

import json

import torch

matrix = torch.ones(8, 8, device="cuda")
try:
    with torch.cuda.graph(torch.cuda.CUDAGraph()):
        matrix @ matrix
    message = "went through"
except RuntimeError as error:
    message = str(error.__context__)
print(json.dumps({"message": message}))
