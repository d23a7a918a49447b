"""Blocks that two streams use: in the pool of cudaMallocAsync, and in the capture of a graph."""

from __future__ import annotations

import json

import torch

MIB = 1 << 20


def freed_on_another_stream() -> dict[str, bool]:
    """A block that the main stream still uses is not handed to the stream that allocated it."""
    side, main = torch.cuda.Stream(), torch.cuda.current_stream()
    with torch.cuda.stream(side):
        block = torch.empty(MIB, dtype=torch.uint8, device="cuda")
    main.wait_stream(side)
    block.record_stream(main)
    block.add_(1)
    address = block.data_ptr()
    del block

    def address_of_next() -> int:
        with torch.cuda.stream(side):
            return torch.empty(MIB, dtype=torch.uint8, device="cuda").data_ptr()

    busy = address_of_next()
    torch.cuda.synchronize()
    return {"used_again_while_busy": busy == address, "used_again_when_done": address_of_next() == address}


def same_stream() -> bool:
    first = torch.empty(MIB, dtype=torch.uint8, device="cuda").add_(1).data_ptr()
    return torch.empty(MIB, dtype=torch.uint8, device="cuda").data_ptr() == first


def captured_record_stream() -> bool:
    a, first, second = torch.zeros(3, device="cuda"), torch.cuda.Stream(), torch.cuda.Stream()
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.stream(first):
        graph.capture_begin()
        b = a.clone()
        second.wait_stream(first)
        with torch.cuda.stream(second):
            b.fill_(1.0)
            b.record_stream(second)
            del b
        first.wait_stream(second)
        graph.capture_end()
    graph.replay()
    torch.cuda.synchronize()
    return True


def captured_blocks() -> int:
    """How many MiB a capture reserves in which eight blocks of 64 MiB follow one another on two streams."""
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    first, second, graph = torch.cuda.Stream(), torch.cuda.Stream(), torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=first):
        for _ in range(8):
            block = torch.empty(64 * MIB, dtype=torch.uint8, device="cuda")
            second.wait_stream(first)
            with torch.cuda.stream(second):
                block.add_(1)
            block.record_stream(second)
            del block
            first.wait_stream(second)
    return (torch.cuda.memory_reserved() - before) // MIB


found = {
    "freed": freed_on_another_stream(),
    "same_stream": same_stream(),
    "captured": captured_record_stream(),
    "blocks": captured_blocks(),
}
print(json.dumps(found))
