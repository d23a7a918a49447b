"""Streams, events and the capture of CUDA graphs."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any

import torch


def capture() -> dict[str, Any]:
    graph = torch.cuda.CUDAGraph()
    x = torch.randn(10, 10, device="cuda")
    outside = torch.cuda.is_current_stream_capturing()
    with torch.cuda.graph(graph):
        inside = torch.cuda.is_current_stream_capturing()
        y = x @ x + 1
    after = torch.cuda.is_current_stream_capturing()
    graph.replay()
    graph.reset()
    return {"states": [outside, inside, after], "shape": list(y.shape)}


def forked() -> list[bool]:
    """A side stream that waits for a captured one is captured as well, until the capture ends."""
    graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    states = []
    with torch.cuda.graph(graph):
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            states.append(torch.cuda.is_current_stream_capturing())
            torch.zeros(8, device="cuda")
        torch.cuda.current_stream().wait_stream(side)
    with torch.cuda.stream(side):
        states.append(torch.cuda.is_current_stream_capturing())
    return states


def pool() -> dict[str, int]:
    """What is allocated in a capture stays with the graph until it is reset."""
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = torch.empty(64 << 20, dtype=torch.uint8, device="cuda")
    held = torch.cuda.memory_allocated() - before
    del y
    torch.cuda.empty_cache()
    reserved_by_graph = torch.cuda.memory_reserved()
    graph.reset()
    del graph
    torch.cuda.empty_cache()
    return {"held": held, "with_graph": reserved_by_graph, "without": torch.cuda.memory_reserved()}


def graphed_model() -> dict[str, Any]:
    model = torch.nn.Sequential(torch.nn.Linear(10, 10), torch.nn.ReLU()).cuda()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graphed = torch.cuda.make_graphed_callables(model, (torch.randn(3, 10, device="cuda"),))
        graphed(torch.randn(3, 10, device="cuda")).sum().backward()
    return {"gradients": all(p.grad is not None for p in model.parameters())}


def events() -> dict[str, Any]:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    end.record()
    end.synchronize()
    return {"query": end.query(), "milliseconds": start.elapsed_time(end)}


def priorities() -> list[int]:
    return [torch.cuda.Stream(priority=wanted).priority for wanted in (0, -1)]


def message(action: Callable[[], object]) -> str:
    try:
        action()
    except RuntimeError as error:
        return str(error)
    return "went through"


def capture_twice() -> None:
    with torch.cuda.graph(torch.cuda.CUDAGraph()):
        torch.cuda.CUDAGraph().capture_begin()


found = {
    "capture": capture(),
    "forked": forked(),
    "pool": pool(),
    "graphed": graphed_model(),
    "events": events(),
    "priorities": priorities(),
    "synchronized": torch.cuda.synchronize() is None,
    "default_stream": message(lambda: torch.cuda.CUDAGraph().capture_begin()),
}
print(json.dumps(found))
