"""What training asks of cuSOLVER, cuSPARSE, cuFFT, cuBLAS and cuDNN in addition to products and convolutions."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, rnn

from memprof.gpus.phantom.runtime import unknown_workspaces

warnings.simplefilter("ignore")  # sparse tensors are in beta
matrix = torch.randn(8, 8, device="cuda", requires_grad=True)
batch = torch.randn(4, 8, 8, device="cuda", requires_grad=True)
picture = torch.randn(2, 8, 8, 8, device="cuda", requires_grad=True)


def csr() -> Tensor:
    return torch.sparse_csr_tensor(torch.arange(9), torch.arange(8), torch.ones(8), (8, 8)).cuda()


def coo() -> Tensor:
    return torch.sparse_coo_tensor(torch.arange(8).repeat(2, 1), torch.ones(8), (8, 8)).cuda()


def sparse_embedding() -> Tensor:
    table = nn.Embedding(100, 16, sparse=True).cuda()
    optimizer = torch.optim.SparseAdam(table.parameters())
    table(torch.zeros(8, dtype=torch.long, device="cuda")).sum().backward()
    optimizer.step()
    return table.weight.detach()


def ctc(where: str) -> Tensor:
    """CTC in the form that cuDNN accepts: 32-bit labels in one row, blank 0."""
    scores = torch.randn(5, 2, 4, device="cuda", requires_grad=True).log_softmax(-1)
    labels = torch.ones(6, dtype=torch.int32, device=where)
    if where == "cpu":
        return functional.ctc_loss(scores, labels, [5, 5], [3, 3])  # type: ignore[arg-type]  # its documentation allows it
    inputs, targets = (torch.tensor([n, n], dtype=torch.int32, device=where) for n in (5, 3))
    return functional.ctc_loss(scores, labels, inputs, targets)


def packed(module: nn.RNNBase) -> Tensor:
    steps = rnn.pack_padded_sequence(torch.randn(5, 3, 8, device="cuda"), [5, 3, 2])
    output: Tensor = module.cuda()(steps)[0].data
    return output


def fused_convolution(added: Tensor | None) -> Tensor:
    weight, bias = torch.randn(8, 8, 3, 3, device="cuda"), torch.zeros(8, device="cuda")
    same = ((1, 1), (1, 1), (1, 1), 1)
    if added is None:
        return torch.cudnn_convolution_relu(picture.detach(), weight, bias, *same)
    return torch.cudnn_convolution_add_relu(picture.detach(), weight, added, 1.0, bias, *same)


def cudnn_attention() -> Tensor:
    q, k, v = (torch.randn(2, 4, 128, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
    with nn.attention.sdpa_kernel(nn.attention.SDPBackend.CUDNN_ATTENTION):
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True)


def benchmarked() -> Tensor:
    torch.backends.cudnn.benchmark = True
    try:
        output: Tensor = nn.Conv2d(8, 8, 3).cuda()(picture)
        return output
    finally:
        torch.backends.cudnn.benchmark = False


def eight_bit() -> Tensor:
    a, b = (torch.zeros(16, 32, device="cuda", dtype=torch.float8_e4m3fn) for _ in range(2))
    one = torch.ones((), device="cuda")
    return torch._scaled_mm(a, b.t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16)


linalg = torch.linalg
SOLVERS: dict[str, Callable[[], Any]] = {
    "cholesky": lambda: linalg.cholesky(matrix),
    "cholesky of a batch": lambda: linalg.cholesky(batch),
    "cholesky_solve": lambda: torch.cholesky_solve(torch.ones(8, 2, device="cuda"), matrix),
    "qr": lambda: linalg.qr(matrix),
    "qr of a batch": lambda: linalg.qr(batch),
    "svd": lambda: linalg.svd(matrix),
    "svd of a batch": lambda: linalg.svd(batch),
    "svd gesvd": lambda: linalg.svd(batch, driver="gesvd"),
    "svd gesvda": lambda: linalg.svd(batch, driver="gesvda"),
    "eigh": lambda: linalg.eigh(matrix),
    "eigh of a batch": lambda: linalg.eigh(batch),
    "inv": lambda: linalg.inv(matrix),
    "solve": lambda: linalg.solve(batch, torch.ones(4, 8, 2, device="cuda")),
    "det": lambda: linalg.det(matrix),
    "lstsq": lambda: linalg.lstsq(matrix, torch.ones(8, 2, device="cuda")).solution,
    "lu": lambda: linalg.lu(matrix),
    "matrix_norm": lambda: linalg.matrix_norm(matrix, 2),
    "matrix_exp": lambda: linalg.matrix_exp(matrix),
    "householder_product": lambda: linalg.householder_product(matrix, torch.ones(8, device="cuda")),
    "ldl_solve": lambda: linalg.ldl_solve(*linalg.ldl_factor(matrix.detach()), torch.ones(8, 2, device="cuda")),
    "orthogonal": lambda: parametrizations.orthogonal(nn.Linear(8, 8).cuda())(matrix),
    "spectral_norm": lambda: parametrizations.spectral_norm(nn.Linear(8, 8).cuda())(matrix),
}
SPARSE: dict[str, Callable[[], Any]] = {
    "csr @ dense": lambda: csr() @ matrix,
    "csr @ vector": lambda: csr() @ torch.ones(8, device="cuda"),
    "csr @ csr": lambda: torch.mm(csr(), csr()).sum(),
    "csr + csr": lambda: torch.add(csr(), csr()).sum(),
    "coo @ dense": lambda: torch.sparse.mm(coo(), matrix),
    "coo @ dense with gradients": lambda: torch.sparse.mm(coo().requires_grad_(), matrix),
    "sampled_addmm": lambda: torch.sparse.sampled_addmm(csr(), matrix.detach(), matrix.detach()).values(),
    "triangular_solve": lambda: torch.triangular_solve(matrix.detach(), csr())[0],
    "bsr @ dense": lambda: torch.eye(8, device="cuda").to_sparse_bsr((2, 2)) @ matrix,
    "embedding": sparse_embedding,
}
TRANSFORMS: dict[str, Callable[[], Any]] = {
    "fft": lambda: torch.fft.fft(matrix),
    "irfft2": lambda: torch.fft.irfft2(torch.fft.rfft2(batch)),
    "stft": lambda: torch.stft(torch.randn(2, 4000, device="cuda"), 400, return_complex=True),
    "half": lambda: torch.fft.fft(torch.randn(8, device="cuda", dtype=torch.half)),
    "five dimensions": lambda: torch.fft.fftn(torch.randn(2, 4, 4, 4, 4, 4, device="cuda", requires_grad=True)),
}
RANDOM: dict[str, Callable[[], Any]] = {
    "randn": lambda: torch.randn(8, device="cuda"),
    "poisson": lambda: torch.poisson(torch.ones(8, device="cuda")),
    "gamma": lambda: torch._standard_gamma(torch.ones(8, device="cuda")),
    "dropout": lambda: functional.dropout(matrix),
    "bernoulli": lambda: torch.bernoulli(torch.ones(8, device="cuda")),
}
CUDNN: dict[str, Callable[[], Any]] = {
    "ctc, labels on the host": lambda: ctc("cpu"),
    "ctc, labels on the device": lambda: ctc("cuda"),
    "convolution + relu": lambda: fused_convolution(None),
    "convolution + z + relu": lambda: fused_convolution(torch.zeros(2, 8, 8, 8, device="cuda")),
    "batch norm": lambda: nn.BatchNorm2d(8).cuda()(picture),
    "batch norm, channels last": lambda: nn.BatchNorm2d(8).cuda()(picture.to(memory_format=torch.channels_last)),
    "batch norm of volumes": lambda: nn.BatchNorm3d(2).cuda()(picture.view(2, 2, 4, 8, 8)),
    "batch norm, inference": lambda: nn.BatchNorm2d(8).cuda().eval()(picture),
    "packed LSTM": lambda: packed(nn.LSTM(8, 16, 2, bidirectional=True)),
    "packed GRU": lambda: packed(nn.GRU(8, 16)),
    "attention": cudnn_attention,
    "benchmark mode": benchmarked,
    "double": lambda: nn.Conv2d(8, 8, 3, dtype=torch.double).cuda()(picture.double()),
    "complex": lambda: nn.Conv2d(8, 8, 3, dtype=torch.cfloat).cuda()(picture.to(torch.cfloat)),
}
CUBLAS: dict[str, Callable[[], Any]] = {
    "batched": lambda: torch.bmm(batch, batch),
    "8-bit floats": eight_bit,
    "8-bit integers": lambda: torch._int_mm(*(torch.zeros(32, 32, device="cuda", dtype=torch.int8) for _ in range(2))),
    "grouped": lambda: torch._grouped_mm(
        torch.zeros(32, 32, device="cuda", dtype=torch.bfloat16),
        torch.zeros(2, 32, 32, device="cuda", dtype=torch.bfloat16),
        offs=torch.tensor([16, 32], device="cuda", dtype=torch.int32),
    ),
}


def outcome(call: Callable[[], Any]) -> dict[str, Any]:
    """Whether the call and its backward pass succeeded, and how many workspaces were of unknown size."""
    before = unknown_workspaces() or 0
    try:
        results = call()
        parts = results if isinstance(results, tuple) else (results,)
        loss = sum(part.abs().sum() for part in parts if part.requires_grad)
        if isinstance(loss, Tensor):
            loss.backward()
        torch.cuda.synchronize()
    except Exception as error:  # noqa: BLE001  whatever it raises is the answer
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    return {"error": None, "unknown": (unknown_workspaces() or 0) - before}


def eigenvalues_of_zeros() -> str:
    """A check of values on the device sees zeros: "is finite" is false."""
    try:
        linalg.eig(matrix.detach())
    except RuntimeError as error:
        return str(error)
    return "went through"


tables = {
    "cusolver": SOLVERS, "cusparse": SPARSE, "cufft": TRANSFORMS, "curand": RANDOM, "cudnn": CUDNN, "cublas": CUBLAS,
}  # fmt: skip
found: dict[str, Any] = {
    library: {name: outcome(call) for name, call in table.items()} for library, table in tables.items()
}
plan = torch.cuda.memory_allocated()
torch.cuda.reset_peak_memory_stats()
torch.fft.fft(torch.zeros(1 << 20, device="cuda", dtype=torch.cfloat))
found["work_area"] = torch.cuda.max_memory_allocated() - plan
found["eigenvalues"] = eigenvalues_of_zeros()
print(json.dumps(found))
