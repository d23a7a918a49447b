"""The architectures that the phantom finds in PyTorch's libraries, and how calls end on a GPU without any."""

from __future__ import annotations

import ctypes
import json
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional


def ended(what: Callable[[], Any]) -> str:
    """How a call ends: ``ran``, or the first line of its exception."""
    try:
        what()
        torch.cuda.synchronize()
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return "ran"


with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    batch = torch.ones(1, 3, 8, 8).cuda()
weight = torch.ones(4, 3, 3, 3).cuda()
found = {
    "architecture": ctypes.CDLL(None).phantom_code_architecture(),
    "built_for": [int(name.removeprefix("sm_")) for name in torch.cuda.get_arch_list() if name.startswith("sm_")],
    "cuda": torch.version.cuda,
    "warnings": [str(one.message).splitlines()[0] for one in warned],
    "copy": ended(batch.cpu),
    "kernel": ended(lambda: batch + 1),
    "product": ended(lambda: functional.linear(batch, torch.ones(5, 8).cuda())),
    "convolution": ended(lambda: functional.conv2d(batch, weight)),
}
print(json.dumps(found))
