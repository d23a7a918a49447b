"""PyTorch's allocator as its documentation describes it, under the settings that the environment gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch

MIB = 1 << 20


def block(mebibytes: float) -> torch.Tensor:
    return torch.empty(int(mebibytes * MIB), dtype=torch.uint8, device="cuda")


def fresh() -> None:
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.reset_accumulated_memory_stats()


def message(action: Callable[[], object]) -> str:
    try:
        action()
    except torch.OutOfMemoryError as error:
        return str(error)
    return "granted"


def used() -> int:
    free, total = torch.cuda.mem_get_info()
    return total - free


def emptied() -> dict[str, int]:
    """empty_cache frees what is cached and nothing else."""
    fresh()
    kept, dropped = block(40), block(60)
    del dropped
    cached = torch.cuda.memory_reserved()
    torch.cuda.empty_cache()
    return {"cached": cached, "left": torch.cuda.memory_reserved(), "kept": kept.nbytes}


def retried() -> dict[str, Any]:
    """An allocation that does not fit frees the cached blocks and is retried."""
    fresh()
    total = torch.cuda.get_device_properties(0).total_memory // MIB
    first = block(total // 2)
    del first
    before = torch.cuda.memory_stats()["num_alloc_retries"]
    second = block(total * 2 // 3)
    refused = message(lambda: block(total // 2))
    stats = torch.cuda.memory_stats()
    del second
    fresh()
    return {
        "retries": stats["num_alloc_retries"] - before,
        "ooms": stats["num_ooms"],
        "refused": refused,
        "granted_afterwards": message(lambda: block(total // 2)),
    }


def added_up() -> dict[str, Any]:
    """The keys of memory_stats: all is large_pool and small_pool, current is allocated minus freed."""
    fresh()
    held = [block(0.5), block(3), block(30)]
    block(5)
    stats = torch.cuda.memory_stats()
    del held
    groups = ("allocation", "segment", "active", "inactive_split", "allocated_bytes", "reserved_bytes",
              "active_bytes", "inactive_split_bytes", "requested_bytes")  # fmt: skip
    return {
        "pools": {
            f"{group}.{moment}": [stats[f"{group}.{pool}.{moment}"] for pool in ("all", "large_pool", "small_pool")]
            for group in groups
            for moment in ("current", "allocated", "freed")
        },
        "balance": {
            group: [stats[f"{group}.all.{moment}"] for moment in ("current", "allocated", "freed", "peak")]
            for group in groups
        },
        "allocated": [stats["allocated_bytes.all.current"], torch.cuda.memory_allocated()],
        "reserved": [stats["reserved_bytes.all.current"], torch.cuda.memory_reserved()],
    }


def peaks() -> list[int]:
    """reset_peak_memory_stats sets the peak to what is allocated now."""
    fresh()
    kept = block(10)
    start = torch.cuda.memory_allocated() - kept.nbytes
    block(50)
    high = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return [high - start, torch.cuda.max_memory_allocated() - start]


def rounded() -> list[list[int]]:
    """Sizes are rounded to 512 B; segments hold 2 MiB, 20 MiB, or a whole allocation rounded to 2 MiB."""
    fresh()
    found = []
    for size in (1, 513, MIB, MIB + 1, 10 * MIB, 10 * MIB + 1, 33 * MIB + 1):
        before, reserved = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
        held = torch.empty(size, dtype=torch.uint8, device="cuda")
        found.append([torch.cuda.memory_allocated() - before, torch.cuda.memory_reserved() - reserved])
        del held
        torch.cuda.empty_cache()
    return found


def fraction() -> dict[str, Any]:
    """set_per_process_memory_fraction limits what this process reserves."""
    fresh()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(0.25)
    fraction = torch.cuda.get_per_process_memory_fraction()
    inside, outside = message(lambda: block(total // 5 // MIB)), message(lambda: block(total // 3 // MIB))
    torch.cuda.set_per_process_memory_fraction(1.0)
    return {
        "fraction": fraction,
        "inside": inside,
        "outside": outside,
        "lifted": message(lambda: block(total // 3 // MIB)),
    }


def large_split() -> list[int]:
    """Half of a cached block of 200 MiB: max_split_size_mb decides whether the block may be split for it."""
    fresh()
    cached = block(200)
    del cached
    before = torch.cuda.memory_reserved()
    held = block(100)
    return [before, torch.cuda.memory_reserved(), held.nbytes]


def collected() -> list[int]:
    """garbage_collection_threshold frees cached blocks above that share of the memory that is allowed."""
    fresh()
    total = torch.cuda.get_device_properties(0).total_memory // MIB
    torch.cuda.set_per_process_memory_fraction(0.5)
    cached = [block(total * 0.12) for _ in range(3)]
    del cached
    before = torch.cuda.memory_reserved()
    held = block(total * 0.13)
    after = torch.cuda.memory_reserved()
    torch.cuda.set_per_process_memory_fraction(1.0)
    return [before // held.nbytes, after // held.nbytes, torch.cuda.memory_stats()["num_alloc_retries"]]


def pools() -> dict[str, Any]:
    """A memory pool of the user is not mixed with the common one."""
    fresh()
    pool = torch.cuda.MemPool()
    with torch.cuda.use_mem_pool(pool):
        held = block(30)
    apart = block(30)
    found = {"segments": [segment["total_size"] for segment in pool.snapshot()], "apart": apart.nbytes}
    del held, apart, pool
    torch.cuda.empty_cache()
    return {**found, "left": torch.cuda.memory_reserved()}


def pinned() -> dict[str, Any]:
    """Pinned memory is host memory: it takes no device memory."""
    before = used()
    host = torch.arange(1000, dtype=torch.float32).pin_memory()
    device = host.to("cuda", non_blocking=True)
    torch.cuda.synchronize()
    back = torch.empty(1000, pin_memory=True)
    back.copy_(device)
    return {
        "pinned": host.is_pinned(),
        "same": torch.equal(host, back),
        "host": torch.cuda.host_memory_stats()["allocated_bytes.current"] > 0,
        "device": used() - before,
    }


native = torch.cuda.get_allocator_backend() == "native"
parts: list[Callable[[], Any]] = [emptied, retried, peaks, fraction, pinned]
if native:
    parts += [added_up, rounded, large_split, collected, pools]
found = {part.__name__: part() for part in parts}
fresh()
found["end"] = [torch.cuda.memory_allocated(), torch.cuda.memory_reserved()]
found["backend"] = torch.cuda.get_allocator_backend()
print(json.dumps(found))
