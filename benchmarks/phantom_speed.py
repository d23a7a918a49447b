"""How fast a phantom is: a step of BERT-base, and torch.compile of ResNet-18. Run as a module it is the child."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from statistics import median
from typing import Any

from benchmarks.commands import GPU
from benchmarks.results import Figure
from benchmarks.timing import Finished, run_python
from memprof.gpus.catalog import find_gpu
from memprof.gpus.phantom.build import build_phantom
from memprof.gpus.phantom.environment import phantom_environment

_BATCH, _TOKENS, _WARM_UP = 32, 512, 2


def bert_step(repeats: int) -> Iterator[Figure]:
    """A step of BERT-base, batch 32 with 512 tokens, AdamW, float32, after two of warm-up; needs transformers."""
    if importlib.util.find_spec("transformers") is None:
        return
    steps = [float(line) for line in _on_phantom("bert", str(_WARM_UP + 3 * repeats)).output.split()]
    yield Figure(
        name=f"a step of BERT-base, batch {_BATCH}, {_TOKENS} tokens",
        memprof=f"{1000 * median(steps[_WARM_UP:]):.1f} ms",
        baseline=f"{1000 * steps[0]:.0f} ms for the first",
        value=median(steps[_WARM_UP:]),
        goal=0.060,
        unit="s",
    )


def compiled_resnet18(repeats: int) -> Iterator[Figure]:
    """torch.compile of ResNet-18, forward and backward, with empty caches: until its first step is through."""
    del repeats  # it takes minutes
    with tempfile.TemporaryDirectory(prefix="memprof-benchmark-") as folder:
        caches = {name: f"{folder}/{name}" for name in ("TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR")}
        first, later = map(float, _on_phantom("resnet18", **caches).output.split())
    yield Figure(
        name="torch.compile of ResNet-18, caches empty",
        memprof=f"{first:.0f} s",
        baseline=f"{1000 * later:.1f} ms for a later step",
        value=first,
        goal=180,
        unit="s",
    )


def _on_phantom(*arguments: str, **environment: str) -> Finished:
    added = {**phantom_environment(build_phantom(), find_gpu(GPU)), "TORCH_CPP_LOG_LEVEL": "ERROR", **environment}
    return run_python(["-m", "benchmarks.phantom_speed", *arguments], added)


def _bert(steps: str) -> None:
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    model: Any = BertForSequenceClassification(BertConfig())
    model.cuda()
    optimizer = torch.optim.AdamW(model.parameters())
    tokens = torch.zeros(_BATCH, _TOKENS, dtype=torch.long, device="cuda")
    labels = torch.zeros(_BATCH, dtype=torch.long, device="cuda")
    for _ in range(int(steps)):
        start = time.perf_counter()
        optimizer.zero_grad()
        model(input_ids=tokens, labels=labels).loss.backward()
        optimizer.step()
        torch.cuda.synchronize()
        print(time.perf_counter() - start)


def _resnet18() -> None:
    import torch
    import torchvision

    model = torchvision.models.resnet18().cuda()
    compiled, optimizer = torch.compile(model), torch.optim.SGD(model.parameters(), lr=0.1)
    images, labels = torch.zeros(16, 3, 224, 224, device="cuda"), torch.zeros(16, dtype=torch.long, device="cuda")
    for _ in range(2):
        start = time.perf_counter()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(compiled(images), labels).backward()
        optimizer.step()
        torch.cuda.synchronize()
        print(time.perf_counter() - start)


if __name__ == "__main__":
    steps_of: Mapping[str, Callable[..., None]] = {"bert": _bert, "resnet18": _resnet18}
    steps_of[sys.argv[1]](*sys.argv[2:])
