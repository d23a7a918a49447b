"""Programs on the device with values of the CPU: results, sizes, and the sequence of allocations."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  its usual name

from memprof.gpus.phantom.runtime import zeros_read
from memprof.gpus.phantom.values import host_values

Program = Callable[[str], Any]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def of(values: list[int], device: str) -> Tensor:
    return torch.tensor(values, device=device)


def changed_in_place(device: str) -> Any:
    x = drawn(8, 8).to(device)
    rows = x[2:5]
    rows.mul_(2).add_(1)
    x.t()[0] = 7
    x[:, 1::2].copy_(x[:, ::2])
    x[x < 0] = -1
    x.view(-1)[3] = x.sum()
    return x, rows, x.unfold(0, 2, 2)


def trained(device: str, precision: torch.dtype | None = None) -> Any:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(6, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 4)).to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.05)
    x, labels = drawn(12, 6).to(device), (torch.arange(12) % 4).to(device)
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        scope = torch.autocast(device, precision) if precision else nullcontext()
        with scope:
            loss = F.cross_entropy(net(x), labels)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses


def convolved(device: str) -> Any:
    torch.manual_seed(2)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(True), nn.MaxPool2d(2), nn.Conv2d(8, 4, 3))
    net = net.to(device)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    x = drawn(2, 3, 16, 16).to(device)
    for _ in range(3):
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()
    return net(x), net[1].running_var


def normed(device: str) -> Any:
    """Norms of bfloat16, whose statistics CUDA keeps in float32."""
    torch.manual_seed(4)
    found = []
    for norm in (nn.LayerNorm(4), nn.GroupNorm(4, 16), nn.BatchNorm2d(16), nn.RMSNorm(4), nn.RMSNorm((16, 4, 4))):
        kind = norm.bfloat16().to(device)
        x = drawn(8, 16, 4, 4, seed=5).bfloat16().to(device).requires_grad_()
        loss = kind(x).float().square().mul(drawn(8, 16, 4, 4).to(device)).sum()
        found += [grad.float().abs().mean() for grad in torch.autograd.grad(loss, [x, *kind.parameters()])]
    return found


def attended(device: str) -> Any:
    q, k, v = (drawn(2, 4, 16, 32, seed=seed).to(device).requires_grad_() for seed in range(3))
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    grads = torch.autograd.grad(out.square().sum(), (q, k, v))
    mask = torch.ones(16, 16, dtype=torch.bool).tril().to(device)
    return out, grads, F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def suppressed(device: str) -> Any:
    corners = drawn(200, 2).mul(20).abs()
    boxes = torch.cat([corners, corners + drawn(200, 2, seed=1).mul(8).abs() + 1], 1).to(device)
    scores = drawn(200, seed=2).to(device)
    kept = torchvision.ops.nms(boxes, scores, 0.3)
    return kept, boxes[kept], torchvision.ops.box_iou(boxes, boxes[kept]) > 0.5


def routed(device: str) -> Any:
    torch.manual_seed(3)
    gate, experts = nn.Linear(8, 4).to(device), [nn.Linear(8, 8).to(device) for _ in range(4)]
    tokens = drawn(40, 8).to(device)
    weights, chosen = F.softmax(gate(tokens), -1).topk(2)
    out = torch.zeros_like(tokens)
    counts = []
    for number, expert in enumerate(experts):
        token, slot = torch.where(chosen == number)
        counts.append(token.numel())
        out.index_add_(0, token, expert(tokens[token]) * weights[token, slot, None])
    out.square().sum().backward()
    return counts, out, chosen.flatten().bincount(minlength=4), [expert.weight.grad for expert in experts]


def printed(device: str) -> Any:
    x = drawn(40, 30).to(device).requires_grad_()
    texts = [str(x), str(x[:3] > 0), f"{x[0, :4] * 1e6} {x.sum() > 0}", str(x.detach().bfloat16())]
    plain_texts = [" ".join(text.replace("device='cuda:0'", "").replace(",", " ").split()) for text in texts]
    return [torch.tensor(list(text.replace(" )", ")").encode())) for text in plain_texts]


def resized(device: str) -> Any:
    x = torch.arange(100, dtype=torch.uint8).to(device)
    return x.resize_(5).clone(), x.resize_(90).clone(), x.resize_(2000)[:90]


def conditional(device: str) -> Any:
    x = drawn(10).to(device)
    steps = 0
    while x.norm().item() > 0.1:
        x, steps = x * 0.7, steps + 1
    return steps, bool(torch.isnan(x).any()), bool(x.isfinite().all()), torch.allclose(x, x * 1), torch.equal(x, x + 1)


PROGRAMS: dict[str, Program] = {
    "changed in place": changed_in_place,
    "trained": trained,
    "trained in bfloat16": lambda device: trained(device, torch.bfloat16),
    "convolved": convolved,
    "normed in bfloat16": normed,
    "attended": attended,
    "suppressed": suppressed,
    "routed": routed,
    "conditional": conditional,
    "printed": printed,
    "resized": resized,
    "nonzero": lambda d: [(drawn(30, 3).to(d) > 0).nonzero(), torch.where(drawn(30).to(d) > 1)],
    "argwhere": lambda d: drawn(9).to(d).relu().argwhere(),
    "masks": lambda d: [drawn(30, 3).to(d)[drawn(30).to(d) > 0], drawn(30).to(d).masked_select(drawn(30).to(d) < 0)],
    "two masks": lambda d: drawn(4, 4).to(d)[of([1, 0, 1, 1], d).bool(), of([1, 1, 1, 0], d).bool()],
    "unique": lambda d: [of([3, 1, 3, 2], d).unique(), *of([3, 1, 3, 2], d).unique(return_counts=True)],
    "unique rows": lambda d: of([3, 1, 3, 1, 2, 2], d).view(3, 2).unique(dim=0, return_inverse=True),
    "unique neighbours": lambda d: of([3, 3, 1, 3], d).unique_consecutive(return_counts=True),
    "repeated": lambda d: [of([5, 6, 7], d).repeat_interleave(of([2, 0, 3], d)), of([5, 6], d).repeat_interleave(2)],
    "counted": lambda d: [of([3, 1, 3, 2], d).bincount(), of([1, 0], d).bincount(minlength=5)],
    "sorted": lambda d: [drawn(20).to(d).sort(), drawn(20).to(d).topk(5), drawn(20).to(d).argsort(descending=True)],
    "equal values": lambda d: torch.zeros(50, device=d).topk(3).indices if d == "cuda" else torch.arange(3),
    "one hot": lambda d: F.one_hot(of([3, 1, 2], d)),
    "searched": lambda d: torch.searchsorted(drawn(9).sort().values.to(d), drawn(5, seed=1).to(d)),
    "gathered": lambda d: drawn(5, 5).to(d).gather(1, of([[1], [0], [4], [2], [3]], d)),  # type: ignore[list-item]
    "split": lambda d: [part.sum() for part in drawn(9, 2).to(d).split([2, 3, 4])],
    "inverse": lambda d: torch.linalg.inv(drawn(4, 4).to(d)),
    "constant of Python": lambda d: torch.tensor([[1.5, 2.5]], device=d).expand(3, 2) * 2,
    "half": lambda d: (drawn(8, 8).to(d).half() @ drawn(8, 8).to(d).half()).float(),
}  # fmt: skip


def plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu().double().tolist()
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def is_close(one: Any, other: Any, tolerance: float) -> Any:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(is_close(*pair, tolerance) for pair in zip(one, other, strict=True))
    return abs(one - other) <= tolerance * (1 + abs(other))


def mismatches() -> dict[str, Any]:
    found = {}
    for name, program in PROGRAMS.items():
        expected = plain(program("cpu"))
        with host_values() as cost:
            result = plain(program("cuda"))
        tolerance = 0.01 if "bfloat16" in name else 0.001  # autocast keeps other operators in float32 on the CPU
        if not is_close(result, expected, tolerance) or cost.missing:
            found[name] = [repr(result)[:200], repr(expected)[:200], cost.missing]
    return found


def sampled() -> Any:
    """Random numbers: the same for the same state of the device's generator."""
    found = []
    for seed in (1, 1, 2):
        with host_values():
            torch.manual_seed(seed)
            x = [torch.rand(3, device="cuda"), torch.randperm(5, device="cuda"), torch.randn(2, device="cuda")]
            x.append(torch.multinomial(torch.ones(9, device="cuda"), 4))
            x.append(F.dropout(torch.ones(20, device="cuda")))
            found.append(plain(x))
    return found


def laziness() -> dict[str, int]:
    net = nn.Linear(64, 64).cuda()
    with host_values() as cost:
        x = torch.randn(256, 64, device="cuda")
        for _ in range(3):
            net(x).sum().backward()
        before = cost.operators_run
        (x > 0).sum().item()
    return {"operators": cost.operators, "before": before, "after": cost.operators_run}


def unknown() -> dict[str, Any]:
    """What the host cannot know: a tensor from before the block."""
    before = torch.randn(1000, 1000, device="cuda")
    reads = zeros_read() or 0
    with host_values():
        (before * 2).sum().item()
        (torch.ones(3, device="cuda") * 2).sum().item()
    return {"reads": (zeros_read() or 0) - reads}


def caller_seed() -> list[float]:
    """The program's own generator on the CPU is not used."""
    found = []
    for scope in (nullcontext(), host_values()):
        torch.manual_seed(5)
        with scope:
            torch.randn(4, device="cuda").sum().item()
            found.append(torch.rand(()).item())
    return found


if __name__ == "__main__":
    print(json.dumps({
        "programs": len(PROGRAMS),
        "mismatches": mismatches(),
        "sampled": sampled(),
        "laziness": laziness(),
        "unknown": unknown(),
        "caller_seed": caller_seed(),
    }))  # fmt: skip
