"""The CUDA runtime called directly, without torch: what it allocates, refuses and reports."""

from __future__ import annotations

import ctypes
import json
from ctypes import byref, c_int, c_size_t, c_uint, c_void_p
from typing import Any

cuda = ctypes.CDLL(None)  # the preloaded phantom's names come first
MIB = 1 << 20


class Dim3(ctypes.Structure):
    _fields_ = (("x", c_uint), ("y", c_uint), ("z", c_uint))


def launch(grid: tuple[int, int, int], block: tuple[int, int, int]) -> int:
    return int(cuda.cudaLaunchKernel(None, Dim3(*grid), Dim3(*block), None, c_size_t(0), None))


def launches() -> dict[str, Any]:
    return {
        "plain": launch((1, 1, 1), (1024, 1, 1)),
        "wide grid": launch((2**31 - 1, 65535, 65535), (32, 4, 8)),
        "too many threads": launch((1, 1, 1), (1025, 1, 1)),
        "too many threads in all": launch((1, 1, 1), (64, 32, 1)),
        "deep block": launch((1, 1, 1), (1, 1, 65)),
        "high grid": launch((1, 65536, 1), (1, 1, 1)),
        "empty grid": launch((0, 1, 1), (1, 1, 1)),
        "empty block": launch((1, 1, 1), (1, 0, 1)),
        "last_errors": [cuda.cudaGetLastError(), cuda.cudaGetLastError()],
    }


def configurations() -> list[list[int]]:
    """Nested launch configurations are popped in the reverse order."""
    for size in (1, 2):
        cuda.__cudaPushCallConfiguration(Dim3(size, 2, 3), Dim3(4, 5, size), c_size_t(size), c_void_p(size))
    found = []
    for _ in range(2):
        grid, block, shared, stream = Dim3(), Dim3(), c_size_t(), c_void_p()
        cuda.__cudaPopCallConfiguration(byref(grid), byref(block), byref(shared), byref(stream))
        found.append([grid.x, grid.y, grid.z, block.x, block.y, block.z, shared.value, stream.value])
    return found


def allocate(size: int) -> tuple[int, int]:
    address = c_void_p()
    return cuda.cudaMalloc(byref(address), c_size_t(size)), address.value or 0


def free_bytes() -> int:
    free, total = c_size_t(), c_size_t()
    cuda.cudaMemGetInfo(byref(free), byref(total))
    return free.value


def memory() -> dict[str, Any]:
    start = free_bytes()
    (_, first), (_, second), (_, third) = (allocate(size) for size in (1, 3 * MIB, 2 * MIB))
    taken = start - free_bytes()
    freed = cuda.cudaFree(c_void_p(second))
    again, small = allocate(4 * MIB)[1], allocate(2 * MIB + 1)[1]
    return {
        "taken": taken,
        "steps": [second - first, third - second],
        "reused": again == second,
        "beyond": small > third,
        "aligned": [address % (2 * MIB) for address in (first, second, third)],
        "freed": freed,
        "freed_twice": [cuda.cudaFree(c_void_p(third)), cuda.cudaFree(c_void_p(third))],
        "inside": cuda.cudaFree(c_void_p(first + 512)),
        "too_much": allocate(1 << 50)[0],
        "free_after_refusal": free_bytes() == start - 10 * MIB,
    }


def values() -> dict[str, Any]:
    """A value exists as long as its memory: newly allocated memory has none."""
    address, back = allocate(2 * MIB)[1], c_int(-1)
    cuda.cudaMemcpy(c_void_p(address), byref(c_int(7)), c_size_t(4), 1)
    cuda.cudaMemcpy(byref(back), c_void_p(address), c_size_t(4), 2)
    kept = back.value
    cuda.cudaFree(c_void_p(address))
    same = allocate(2 * MIB)[1] == address
    cuda.cudaMemcpy(byref(back), c_void_p(address), c_size_t(4), 2)
    emptied = back.value
    cuda.cudaMemset(c_void_p(address), 1, c_size_t(4))
    cuda.cudaMemcpy(byref(back), c_void_p(address), c_size_t(4), 2)
    return {"kept": kept, "same_address": same, "emptied": emptied, "set": back.value}


def capture() -> dict[str, Any]:
    stream, graph, status = c_void_p(), c_void_p(), c_int(-1)
    cuda.cudaStreamCreate(byref(stream))
    memory = c_void_p(allocate(8)[1])

    def state() -> list[int]:
        cuda.cudaStreamIsCapturing(stream, byref(status))
        return [status.value]

    before = state()
    begun = [cuda.cudaStreamBeginCapture(stream, 0) for _ in range(2)]
    inside = state()
    cuda.cudaLaunchKernel(None, Dim3(1, 1, 1), Dim3(1, 1, 1), None, c_size_t(0), stream)
    cuda.cudaMemsetAsync(memory, 0, c_size_t(8), stream)
    ended = [cuda.cudaStreamEndCapture(stream, byref(graph))]
    nodes = c_size_t()
    cuda.cudaGraphGetNodes(graph, None, byref(nodes))
    ended.append(cuda.cudaStreamEndCapture(stream, byref(c_void_p())))
    return {
        "states": [*before, *inside, *state()],
        "begun": begun,
        "ended": ended,
        "nodes": nodes.value,
        "legacy": cuda.cudaStreamBeginCapture(None, 0),
    }


found = {part.__name__: part() for part in (memory, launches, configurations, values, capture)}
print(json.dumps(found))
