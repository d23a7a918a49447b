"""What the phantom does not emulate ends in PyTorch's own exceptions, one after the other in one process."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable

import torch
import torch.distributed as dist
from torchvision.io import decode_jpeg, encode_jpeg


def all_reduce() -> None:
    dist.init_process_group("nccl", rank=0, world_size=1, store=dist.HashStore())
    dist.all_reduce(torch.ones(4, device="cuda"))


def decode() -> None:
    decode_jpeg(encode_jpeg(torch.zeros(3, 16, 16, dtype=torch.uint8)), device="cuda")


def error_of(action: Callable[[], object]) -> list[str]:
    try:
        action()
    except RuntimeError as error:
        return [type(error).__name__, " ".join(str(error).split())]
    return ["none", ""]


def multiply_sparse() -> torch.Tensor:
    rows, columns = torch.arange(9), torch.arange(8)
    eye = torch.sparse_csr_tensor(rows, columns, torch.ones(8), (8, 8)).cuda()
    return eye @ torch.ones(8, 8, device="cuda")


warnings.simplefilter("ignore")  # sparse tensors are in beta
matrix = torch.eye(8, device="cuda")
calls: dict[str, Callable[[], object]] = {
    "cufftCreate": lambda: torch.fft.fft(torch.randn(8, device="cuda")),
    "cusolverDnCreate": lambda: torch.linalg.cholesky(matrix),
    "cusparseCreate": multiply_sparse,
    "cudaIpcGetMemHandle": matrix.untyped_storage()._share_cuda_,
    "ncclCommInitRankConfig": all_reduce,
    "nvjpeg": decode,
    "index": lambda: torch.empty(1, device="cuda:1"),
}
found = {name: error_of(call) for name, call in calls.items()}
torch.ones(4, device="cuda").sum().item()  # the device still works
print(json.dumps(found))
