"""What the phantom does not emulate ends in PyTorch's own exceptions, one after the other in one process."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable

import torch
import torch.distributed as dist
from torchvision.io import decode_jpeg, encode_jpeg


def all_reduce_of_two() -> None:
    dist.init_process_group("nccl", rank=0, world_size=2, store=dist.HashStore())  # type: ignore[attr-defined]
    dist.all_reduce(torch.ones(4, device="cuda"))


def compress() -> None:
    torch.sparse.to_sparse_semi_structured(torch.ones(128, 128, device="cuda", dtype=torch.half))


def decode() -> None:
    decode_jpeg(encode_jpeg(torch.zeros(3, 16, 16, dtype=torch.uint8)), device="cuda")


def error_of(action: Callable[[], object]) -> list[str]:
    try:
        action()
    except RuntimeError as error:
        return [type(error).__name__, " ".join(str(error).split())]
    return ["none", ""]


warnings.simplefilter("ignore")  # sparse tensors are in beta
matrix = torch.eye(8, device="cuda")
calls: dict[str, Callable[[], object]] = {
    "cusparseLtInit": compress,
    "cudaIpcGetMemHandle": matrix.untyped_storage()._share_cuda_,
    "ncclCommInitRankConfig with several processes": all_reduce_of_two,
    "nvjpeg": decode,
    "index": lambda: torch.empty(1, device="cuda:1"),
}
found = {name: error_of(call) for name, call in calls.items()}
torch.ones(4, device="cuda").sum().item()  # the device still works
print(json.dumps(found))
