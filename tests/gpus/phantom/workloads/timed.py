"""How often programs that time a kernel run it: Triton's do_bench and the benchmarks of torch.compile."""

from __future__ import annotations

import json
from collections.abc import Callable

import torch
from torch._inductor.runtime.benchmarking import benchmarker
from triton.testing import do_bench


def runs(time: Callable[[Callable[[], object]], object]) -> int:
    count = 0
    x = torch.ones(1000, device="cuda")

    def kernel() -> None:
        nonlocal count
        count += 1
        x.mul_(2)

    time(kernel)
    return count


print(json.dumps({"do_bench": runs(do_bench), "inductor": runs(benchmarker.benchmark_gpu)}))
