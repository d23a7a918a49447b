"""Values of small tensors: the same program on the CPU and on the device, and what must never be an old value."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Program = Callable[[str], "Tensor | bool | float"]

TYPES = (
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8,
)  # fmt: skip


def programs(dtype: torch.dtype) -> dict[str, Program]:
    def a(device: str) -> Tensor:
        return torch.tensor([1, 2, 3, 100, 7], dtype=dtype).to(device)

    def b(device: str) -> Tensor:
        return torch.tensor([3, 2, 1, 50, 9], dtype=dtype).to(device)

    def grid(device: str) -> Tensor:
        return torch.arange(6, device=device, dtype=dtype).reshape(2, 3)

    def column(device: str) -> Tensor:
        return torch.tensor([[1], [2]], dtype=dtype).to(device)

    def filled_column(device: str) -> Tensor:
        x = torch.ones(3, 3, device=device, dtype=dtype)
        x[:, 1] = 7
        return x

    return {
        "ones": lambda d: torch.ones(3, device=d, dtype=dtype),
        "zeros and one": lambda d: torch.zeros(3, device=d, dtype=dtype) + 1,
        "full": lambda d: torch.full((5,), 7, device=d, dtype=dtype),
        "arange": lambda d: torch.arange(3, 20, 2, device=d, dtype=dtype),
        "a + b": lambda d: a(d) + b(d),
        "a + 2 b": lambda d: torch.add(a(d), b(d), alpha=2),
        "a + 3": lambda d: a(d) + 3,
        "127 - a": lambda d: 127 - a(d),
        "a * b": lambda d: a(d) * b(d),
        "a * 3": lambda d: a(d) * 3,
        "a / b": lambda d: a(d) / b(d),
        "a / 4": lambda d: a(d) / 4,
        "8 / a": lambda d: 8 / a(d),
        "a // b": lambda d: a(d) // b(d),
        "a % b": lambda d: a(d) % b(d),
        "a % 3": lambda d: a(d) % 3,
        "-a": lambda d: -a(d),
        "abs": lambda d: (-a(d)).abs(),
        "a == b": lambda d: a(d) == b(d),
        "a == 2": lambda d: a(d) == 2,
        "a != b": lambda d: a(d) != b(d),
        "a < b": lambda d: a(d) < b(d),
        "a <= b": lambda d: a(d) <= b(d),
        "a > 2": lambda d: a(d) > 2,
        "a >= 2": lambda d: a(d) >= 2,
        "a < 2": lambda d: a(d) < 2,
        "minimum": lambda d: torch.minimum(a(d), b(d)),
        "maximum": lambda d: torch.maximum(a(d), b(d)),
        "clamp": lambda d: a(d).clamp(2, 7),
        "clamp from": lambda d: a(d).clamp(min=2),
        "clamp to": lambda d: a(d).clamp(max=2),
        "sum": lambda d: a(d).sum(),
        "sum of columns": lambda d: grid(d).sum(0),
        "sum of rows": lambda d: grid(d).sum(1),
        "all": lambda d: a(d).all(),
        "any": lambda d: (a(d) == 2).any(),
        "cumulative sum": lambda d: a(d).cumsum(0),
        "cumulative sum in the same type": lambda d: b(d).cumsum(0, dtype=dtype),
        "cumulative sum of rows": lambda d: grid(d).cumsum(1),
        "cumulative sum of columns": lambda d: grid(d).cumsum(0, dtype=dtype),
        "cumulative sum of one row": lambda d: grid(d)[:1].cumsum(-1),
        "cumulative sum of truths": lambda d: (grid(d) != 1).cumsum(-1),
        "cumulative sum of a transposed": lambda d: grid(d).t().cumsum(-1),
        "cumulative sum in the middle": lambda d: torch.ones(2, 3, 4, device=d, dtype=dtype).cumsum(1),
        "differences": lambda d: torch.diff(grid(d), prepend=grid(d)[:, :1] - 1, dim=-1),
        "largest": lambda d: a(d).amax(),
        "smallest": lambda d: a(d).amin(),
        "logical not": lambda d: a(d).logical_not(),
        "in place": lambda d: a(d).add_(1),
        "where": lambda d: torch.where(a(d) > b(d), a(d), b(d)),
        "masked fill": lambda d: a(d).masked_fill(a(d) == 2, 9),
        "to float": lambda d: a(d).float(),
        "to long": lambda d: a(d).long(),
        "to half": lambda d: a(d).half(),
        "to bfloat16": lambda d: a(d).bfloat16(),
        "to bool": lambda d: a(d).bool(),
        "transposed": lambda d: grid(d).t().contiguous(),
        "expanded": lambda d: column(d).expand(2, 3).contiguous(),
        "broadcast": lambda d: column(d) + grid(d),
        "column": filled_column,
        "two in a row": lambda d: torch.cat([a(d), b(d)]),
        "two of odd lengths": lambda d: torch.cat([a(d)[:1], b(d)[:2], a(d)[:4]]),
        "two aligned": lambda d: torch.cat([torch.ones(64, device=d, dtype=dtype), grid(d).flatten()[:4].repeat(4)]),
        "200 in a row": lambda d: torch.cat([a(d)[i % 5 :][:1] for i in range(200)]),
        "two side by side": lambda d: torch.cat([grid(d), column(d)], 1),
        "transposed and more": lambda d: torch.cat([grid(d).t(), column(d).t()]),
        "stacked": lambda d: torch.stack([a(d), b(d)], 1),
        "and": lambda d: (a(d) > 1) & (b(d) > 1),
        "or": lambda d: (a(d) > 1) | (b(d) > 1),
        "xor": lambda d: (a(d) > 1) ^ (b(d) > 1),
        "not": lambda d: ~(a(d) > 1),
        "equal": lambda d: torch.equal(a(d), a(d).clone()),
        "not equal": lambda d: torch.equal(a(d), b(d)),
        **(of_floats(a) if dtype.is_floating_point else {}),
    }


def of_floats(a: Callable[[str], Tensor]) -> dict[str, Program]:
    return {
        "mean": lambda d: a(d).mean(),
        "sqrt": lambda d: a(d).sqrt(),
        "reciprocal": lambda d: a(d).reciprocal(),
        "isnan": lambda d: torch.isnan(a(d) / (a(d) - 1)).any(),
        "isfinite": lambda d: torch.isfinite(a(d)).all(),
        "isinf": lambda d: torch.isinf(a(d) / (a(d) - 1)).any(),
        "allclose": lambda d: torch.allclose(a(d), a(d) + 1e-9),
        "rounded": lambda d: (a(d) / 3).to(torch.bfloat16).to(torch.float16),
    }


def counted_steps(device: str) -> Any:
    """As optimizers count the steps of all parameters at once."""
    steps = [torch.tensor(3.0).to(device) for _ in range(40)]
    torch._foreach_add_(steps, 1)
    return [step.item() for step in steps]


def sequences(device: str) -> Tensor:
    """To which of two packed sequences each position belongs, as transformers finds it in the positions of a batch."""
    positions = torch.arange(1024, device=device).remainder(512).unsqueeze(0).expand(8, -1)
    return (torch.diff(positions, prepend=positions[:, :1] - 1, dim=-1) != 1).cumsum(-1)


def others() -> dict[str, Program]:
    return {
        "a scalar": lambda d: torch.ones((), device=d).item(),
        "two copies": lambda d: torch.equal(torch.tensor(1.0).to(d), torch.tensor(1.0).to(d)),
        "two types": lambda d: torch.tensor([1.5, 2.5]).to(d) + torch.tensor([1, 2]).to(d),
        "truncated": lambda d: torch.tensor([1.5, -2.5]).to(d).to(torch.int32),
        "complex": lambda d: torch.full((2,), 1 + 2j, device=d),
        "counters of steps": counted_steps,
        "64 KiB": lambda d: torch.ones(16384, device=d).sum(),
        "256 Ki integers": lambda d: torch.arange(1 << 18, device=d).sum(),
        "256 Ki truths": lambda d: (torch.arange(1 << 18, device=d) >= 0).all(),
        "cumulative sum of 256 Ki integers": lambda d: torch.ones(1 << 18, device=d, dtype=torch.long).cumsum(0),
        "sequences of a batch": sequences,
        "halves": lambda d: (torch.arange(64, device=d) / 7).half(),
        "subnormal halves": lambda d: (torch.arange(1, 64, device=d) * 1e-8).half(),
        "large halves": lambda d: (torch.arange(65500, 65536, device=d).float()).half(),
    }


def mismatches(found: dict[str, Program]) -> dict[str, str]:
    wrong = {}
    for name, program in found.items():
        expected, actual = program("cpu"), program("cuda")
        same: bool
        if isinstance(expected, Tensor) and isinstance(actual, Tensor):
            wide = (expected.to(torch.cdouble), actual.cpu().to(torch.cdouble))
            same = expected.dtype == actual.dtype and torch.allclose(*wide, rtol=1e-6, equal_nan=True)
        else:
            same = bool(expected == actual)
        if not same:
            wrong[name] = f"{expected} {actual}"
    return wrong


def after(operators: dict[str, Callable[[Tensor], Any]]) -> dict[str, list[float]]:
    """Return what can be read of four known values after each operator."""
    found = {}
    for name, operator in operators.items():
        x = torch.tensor([1.0, 2.0, 3.0, 4.0], device="cuda")
        operator(x)
        found[name] = x.tolist()
    return found


def overwritten() -> dict[str, list[float]]:
    """Known values that an operator overwrites whose results are not known: what can be read then."""
    index, ones = torch.tensor([0], device="cuda"), torch.ones(1, device="cuda")
    unknown = torch.randn(4, device="cuda")
    operators: dict[str, Callable[[Tensor], Any]] = {
        "exp_": lambda x: x.exp_(),
        "exp_ of a part": lambda x: x[1:3].exp_(),
        "normal_": lambda x: x.normal_(),
        "unknown cumsum": lambda x: torch.cumsum(unknown, 0, out=x),
        "partly known cumsum": lambda x: torch.cumsum(torch.cat([ones, unknown[1:2], ones, ones]), 0, out=x),
        "cumprod": lambda x: torch.cumprod(x, 0, out=x),
        "index_put": lambda x: x.index_put_((index,), ones),
        "accumulate": lambda x: x.index_put_((index,), ones, accumulate=True),
        "scatter": lambda x: x.scatter_(0, index, 9.0),
        "scatter_add": lambda x: x.scatter_add_(0, index, ones),
        "index_fill": lambda x: x.index_fill_(0, index, 9.0),
        "index_copy": lambda x: x.index_copy_(0, index, ones),
        "index_add": lambda x: x.index_add_(0, index, ones),
        "put": lambda x: x.put_(index, ones),
        "sort": lambda x: torch.sort(x, out=(x, torch.empty(4, dtype=torch.long, device="cuda"))),
        "product": lambda x: torch.mm(x.view(2, 2), x.view(2, 2), out=x.view(2, 2)),
        "unknown parts": lambda x: torch.cat([unknown[:1], unknown[1:]], out=x),
        "unknown copy": lambda x: x.copy_(unknown),
        "unknown sum": lambda x: x.add_(unknown),
        "unknown fill": lambda x: x.fill_(unknown.sum()),
    }
    return after(operators)


def read_only() -> dict[str, list[float]]:
    """Known values that an operator only reads stay known."""
    index = torch.tensor([0], device="cuda")
    operators: dict[str, Callable[[Tensor], Any]] = {
        "index": lambda x: x[index],
        "gather": lambda x: x.gather(0, index),
        "cumsum": lambda x: x.cumsum(0),
        "cat": lambda x: torch.cat([x, x]),
        "sort": lambda x: x.sort(),
        "softmax": lambda x: x.softmax(0),
        "nonzero": lambda x: x.nonzero(),
        "product": lambda x: x.view(2, 2) @ x.view(2, 2),
        "loss": lambda x: torch.nn.functional.cross_entropy(torch.randn(4, 5, device="cuda"), x.long()),
        "larger": lambda x: x + torch.randn(1000, 1000, 4, device="cuda"),
    }
    return after(operators)


def indices() -> dict[str, list[int]]:
    """What is known of 32 indices after an operator has read the rows that they name."""
    table = torch.ones(64, 64, device="cuda")
    operators: dict[str, Callable[[Tensor], Any]] = {
        "embedding": lambda i: torch.nn.functional.embedding(i, table),
        "index_select": lambda i: table.index_select(0, i),
        "index": lambda i: table[i],
    }
    found = {}
    for name, operator in operators.items():
        index = torch.arange(32, device="cuda")
        operator(index)
        found[name] = index.tolist()
    return found


def captured() -> dict[str, list[float]]:
    """A captured kernel is not run when it is captured; after a replay its output is not known."""
    x, y = torch.tensor([1.0], device="cuda"), torch.tensor([5.0], device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y.copy_(x + 1)
    after_capture = y.tolist()
    y.copy_(torch.tensor([5.0]))
    graph.replay()
    return {"captured": after_capture, "replayed": y.tolist()}


def expanded() -> list[float]:
    """Sums over a scalar that stands for 1,000 elements, and for so many that to add them up would take hours."""
    one = torch.ones((), device="cuda")
    return [one.expand(1000).sum().item(), one.expand(1 << 42).sum().item()]


def too_large() -> list[float]:
    """Sums over one element more than those whose values are computed."""
    return [
        torch.ones((1 << 18) + 1, device="cuda", dtype=torch.long).sum().item(),
        torch.ones(16385, device="cuda").sum().item(),
    ]


def main() -> None:
    by_type = {str(dtype): mismatches(programs(dtype)) for dtype in TYPES}
    found = {
        "programs": sum(len(programs(dtype)) for dtype in TYPES),
        "mismatches": {name: wrong for name, wrong in {**by_type, "others": mismatches(others())}.items() if wrong},
        "overwritten": overwritten(),
        "read_only": read_only(),
        "indices": indices(),
        "captured": captured(),
        "expanded": expanded(),
        "too_large": too_large(),
    }
    print(json.dumps(found))


main()
