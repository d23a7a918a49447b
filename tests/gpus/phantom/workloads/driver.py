"""The addresses that cudaMalloc gives after a first tensor. Argument: JSON, MiB to take or ~n to free the n-th."""

from __future__ import annotations

import json
import sys
from ctypes import CDLL, byref, c_size_t, c_void_p

import torch

kept = torch.zeros(1, device="cuda")
cuda, given = CDLL(None), list[int]()
for move in json.loads(sys.argv[1]):
    if move < 0:
        assert cuda.cudaFree(c_void_p(given[~move])) == 0
        continue
    address = c_void_p()
    assert cuda.cudaMalloc(byref(address), c_size_t(move << 20)) == 0
    given.append(address.value or 0)
print(json.dumps({"addresses": given}))
