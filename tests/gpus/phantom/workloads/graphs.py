"""The capture of CUDA graphs, their replay and their memory."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn


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
    before, reserved = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = torch.empty(64 << 20, dtype=torch.uint8, device="cuda")
    held = torch.cuda.memory_allocated() - before
    del y
    torch.cuda.empty_cache()
    reserved_by_graph = torch.cuda.memory_reserved() - reserved
    graph.reset()
    del graph
    torch.cuda.empty_cache()
    return {"held": held, "with_graph": reserved_by_graph, "without": torch.cuda.memory_reserved() - reserved}


def graphed_model() -> dict[str, Any]:
    model = torch.nn.Sequential(torch.nn.Linear(10, 10), torch.nn.ReLU()).cuda()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graphed: Any = torch.cuda.make_graphed_callables(model, (torch.randn(3, 10, device="cuda"),))
        graphed(torch.randn(3, 10, device="cuda")).sum().backward()
    return {"gradients": all(p.grad is not None for p in model.parameters())}


def two_in_one_pool() -> dict[str, Any]:
    """Graphs that share a pool use what the one before left free."""
    torch.cuda.empty_cache()
    before, shared = torch.cuda.memory_reserved(), torch.cuda.graph_pool_handle()
    graphs = [torch.cuda.CUDAGraph() for _ in range(2)]
    for graph in graphs:
        with torch.cuda.graph(graph, pool=shared):
            torch.zeros(64 << 20, dtype=torch.uint8, device="cuda")
    for graph in graphs:
        graph.replay()
    return {"same": graphs[0].pool() == graphs[1].pool(), "reserved": torch.cuda.memory_reserved() - before}


def whole_step() -> dict[str, Any]:
    """The recipe of PyTorch's notes on CUDA graphs: warm up on a side stream, capture one step, replay it."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(288, 10)
    ).cuda()
    optimizer = torch.optim.Adam(model.parameters(), capturable=True)
    x, y = torch.randn(4, 3, 8, 8, device="cuda"), torch.zeros(4, dtype=torch.long, device="cuda")

    def step() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step()
    captured = torch.cuda.memory_allocated()
    for _ in range(3):
        graph.replay()
    return {"loss": loss.item(), "allocated": [captured, torch.cuda.memory_allocated()]}


def message(action: Callable[[], object]) -> str:
    try:
        action()
    except RuntimeError as error:
        return f"{error} / {error.__context__}"
    return "went through"


def in_a_capture(action: Callable[[], object]) -> str:
    def run() -> None:
        with torch.cuda.graph(torch.cuda.CUDAGraph()):
            torch.ones(8, device="cuda")
            action()

    return message(run)


def fork_without_join() -> None:
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        torch.ones(8, device="cuda")


def wait_for_the_outside() -> None:
    torch.cuda.current_stream().wait_event(outside)


outside = torch.cuda.Event()
torch.ones(8, device="cuda")
outside.record()
matrix = torch.ones(8, 8, device="cuda")
warnings.filterwarnings("ignore", message="The CUDA Graph is empty")
found = {
    "warmed_up": list((matrix @ matrix).shape),  # the first product makes cuBLAS's handle, which a capture forbids
    "capture": capture(),
    "forked": forked(),
    "pool": pool(),
    "two_in_one_pool": two_in_one_pool(),
    "graphed": graphed_model(),
    "whole_step": whole_step(),
    "legacy": message(lambda: torch.cuda.CUDAGraph().capture_begin()),
    "forbidden": {
        "item": in_a_capture(lambda: matrix.sum().item()),
        "synchronize": in_a_capture(torch.cuda.synchronize),
        "query": in_a_capture(lambda: torch.cuda.current_stream().query()),
        "unjoined": in_a_capture(fork_without_join),
        "outside": in_a_capture(wait_for_the_outside),
        "nothing": in_a_capture(lambda: matrix @ matrix),
    },
    "afterwards": matrix.sum().item(),
}
print(json.dumps(found))
