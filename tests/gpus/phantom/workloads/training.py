"""What training code does in addition to a forward and a backward pass: each part small, each on the device."""

from __future__ import annotations

import itertools
import json
import tempfile
from pathlib import Path
from typing import Any, cast

import torch
import torchvision
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from memprof.gpus.phantom.runtime import unknown_workspaces


def small_cnn() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.LazyLinear(4))


def autocast() -> dict[str, Any]:
    """Two steps in half precision; a step that the scaler skips would leave no optimizer state."""
    model = small_cnn()
    model(torch.randn(2, 3, 8, 8))
    model.cuda()
    optimizer, scaler = torch.optim.Adam(model.parameters()), torch.amp.GradScaler("cuda")
    for _ in range(2):
        optimizer.zero_grad()
        with torch.autocast("cuda", dtype=torch.float16):
            output = model(torch.randn(2, 3, 8, 8, device="cuda"))
        scaler.scale(output.float().sum()).backward()
        passing = [torch.tensor(3.0, device="cuda") for _ in range(4)]  # must not be read as an overflow afterwards
        del passing
        scaler.step(optimizer)
        scaler.update()
    steps = [int(state["step"]) for state in optimizer.state.values()]
    return {"dtype": str(output.dtype), "steps": steps, "parameters": len(list(model.parameters()))}


def layers_peak(checkpointed: bool) -> int:
    model = nn.ModuleList(nn.Sequential(nn.Linear(512, 512), nn.GELU()) for _ in range(8)).cuda()
    x = torch.randn(4096, 512, device="cuda", requires_grad=True)
    torch.cuda.reset_peak_memory_stats()
    y: Tensor = x
    for layer in model:
        y = checkpoint(layer, y, use_reentrant=False) if checkpointed else layer(y)
    y.sum().backward()
    return torch.cuda.max_memory_allocated()


def checkpointing() -> dict[str, Any]:
    layers_peak(True)  # creates cuBLAS's workspaces, which are kept
    return {"peak": layers_peak(True), "peak_without": layers_peak(False)}


def count_unknown() -> int:
    """The workspaces so far that are modelled or unknown; this process is on a phantom."""
    found = unknown_workspaces()
    assert found is not None
    return found


def recurrent(module: nn.RNNBase) -> dict[str, Any]:
    before = count_unknown()
    module.cuda()
    y, _ = module(torch.randn(10, 4, module.input_size, device="cuda", requires_grad=True))
    y.sum().backward()
    weights = cast("list[Tensor]", module._flat_weights)
    first = weights[0].untyped_storage()
    return {
        "shape": list(y.shape),
        "parameters": sum(p.numel() for p in module.parameters()),
        "flat_elements": first.nbytes() // weights[0].element_size(),
        "shares_one_storage": all(w.untyped_storage().data_ptr() == first.data_ptr() for w in weights),
        "apart": apart(weights),
        "gradients": all(p.grad is not None for p in module.parameters()),
        "unknown": count_unknown() - before,
    }


def apart(weights: list[Tensor]) -> bool:
    """Whether no two of the weights overlap in the storage that they share."""
    places = sorted((w.storage_offset(), w.storage_offset() + w.numel()) for w in weights)
    return all(end <= start for (_, end), (start, _) in itertools.pairwise(places))


def recurrents() -> dict[str, Any]:
    return {
        "lstm": recurrent(nn.LSTM(32, 64)),
        "deep": recurrent(nn.LSTM(32, 64, num_layers=2, bidirectional=True, dropout=0.1)),
        "projected": recurrent(nn.LSTM(32, 64, num_layers=2, proj_size=16)),
        "unbiased": recurrent(nn.LSTM(32, 64, bias=False)),
        "gru": recurrent(nn.GRU(32, 64, num_layers=2, bidirectional=True)),
        "rnn": recurrent(nn.RNN(32, 64)),
    }


def snapshots() -> dict[str, Any]:
    torch.cuda.memory._record_memory_history()
    held = torch.empty(12_345, dtype=torch.uint8, device="cuda")
    traces = torch.cuda.memory._snapshot()["device_traces"][0]
    with tempfile.TemporaryDirectory() as folder:
        torch.cuda.memory._dump_snapshot(f"{folder}/snapshot.pickle")
        dumped = Path(folder, "snapshot.pickle").stat().st_size
    torch.cuda.memory._record_memory_history(enabled=None)
    segments = torch.cuda.memory_snapshot()
    return {
        "traced": [event["size"] for event in traces if event["addr"] == held.data_ptr()],
        "dumped": dumped > 0,
        "reserved": [sum(segment["total_size"] for segment in segments), torch.cuda.memory_reserved()],
        "allocated": [sum(segment["allocated_size"] for segment in segments), torch.cuda.memory_allocated()],
    }


def attentions() -> dict[str, int]:
    return {backend.name: attention_peak(backend) for backend in (
        SDPBackend.FLASH_ATTENTION,
        SDPBackend.EFFICIENT_ATTENTION,
        SDPBackend.CUDNN_ATTENTION,
        SDPBackend.MATH,
    )}  # fmt: skip


def attention_peak(backend: SDPBackend) -> int:
    q, k, v = (torch.randn(2, 8, 1024, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    with sdpa_kernel(backend):
        nn.functional.scaled_dot_product_attention(q, k, v).sum().backward()
    return torch.cuda.max_memory_allocated() - before


def optimizers() -> dict[str, Any]:
    return {
        name: optimizer_state(**{name: True}) for name in ("fused", "foreach", "capturable", "amsgrad")
    }  # fmt: skip


def optimizer_state(**options: Any) -> list[str]:
    model = nn.Linear(10, 10).cuda()
    optimizer = torch.optim.Adam(model.parameters(), **options)
    model(torch.randn(2, 10, device="cuda")).sum().backward()
    optimizer.step()
    return sorted(optimizer.state[model.weight])


def operations() -> dict[str, Any]:
    x = torch.randn(1000, device="cuda")
    picture = torch.randn(1, 3, 8, 8, device="cuda", requires_grad=True)
    grid = torch.zeros(1, 8, 8, 2, device="cuda")
    weight = torch.randn(3, 4, 3, 3, device="cuda", requires_grad=True)
    found: dict[str, Tensor] = {
        "sort": torch.sort(x).values,
        "topk": torch.topk(x, 5).values,
        "multinomial": torch.multinomial(torch.ones(10, device="cuda"), 3),
        "randperm": torch.randperm(1000, device="cuda"),
        "cumsum": torch.cumsum(x, 0),
        "bessel": torch.special.bessel_j0(x),
        "gcd": torch.gcd(x.int(), x.int()),
        "embedding": nn.functional.embedding(torch.zeros(5, dtype=torch.long, device="cuda"), x.view(250, 4)),
        "interpolated": nn.functional.interpolate(picture, scale_factor=2, mode="bilinear"),
        "sampled": nn.functional.grid_sample(picture, grid, align_corners=False),
        "transposed": nn.functional.conv_transpose2d(picture, weight),
        "volume": nn.functional.conv3d(picture[None], torch.randn(2, 1, 1, 3, 3, device="cuda")),
        "pooled": nn.functional.adaptive_avg_pool2d(picture, 2),
        "dense": torch.eye(8, device="cuda").to_sparse() @ torch.eye(8, device="cuda"),
        "ctc": ctc(),
    }
    for y in found.values():
        if y.requires_grad:
            y.sum().backward()
    return {name: list(y.shape) for name, y in found.items()}


def ctc() -> Tensor:
    scores = torch.randn(5, 2, 4, device="cuda", requires_grad=True).log_softmax(-1)
    return nn.functional.ctc_loss(scores, torch.ones(2, 3, dtype=torch.long), [5, 5], [3, 3])  # type: ignore[arg-type]


def squeezenet() -> dict[str, int]:
    """A backward pass through a whole network of torchvision's."""
    model = torchvision.models.squeezenet1_1().cuda().eval()
    model(torch.randn(1, 3, 64, 64, device="cuda")).sum().backward()
    return {"gradients": sum(p.grad is not None for p in model.parameters())}


found = {
    part.__name__: part()
    for part in (
        autocast,
        checkpointing,
        recurrents,
        snapshots,
        attentions,
        optimizers,
        operations,
        squeezenet,
    )
}
print(json.dumps(found))
