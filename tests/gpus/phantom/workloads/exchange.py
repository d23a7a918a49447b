"""Three processes that exchange small values; each writes what it got to a file in the folder that is given."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh

from tests.gpus.phantom.workloads.forked import run_ranks

RANK, WORLD = 0, 3
LARGE = 4 << 20  # bytes, more than a message takes
LARGE_OBJECT = 400_000  # characters: more than a tensor with known values has, and less than a message takes
DTYPES = (
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int8,
    torch.uint8,
)
OPERATIONS = {
    "sum": dist.ReduceOp.SUM,
    "product": dist.ReduceOp.PRODUCT,
    "max": dist.ReduceOp.MAX,
    "min": dist.ReduceOp.MIN,
}


def mine(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.tensor([RANK + 1, 2, 3 - RANK], dtype=dtype).cuda()


def reduced() -> dict[str, list[float]]:
    found = {}
    for dtype in DTYPES:
        for name, operation in OPERATIONS.items():
            x = mine(dtype)
            dist.all_reduce(x, op=operation)
            found[f"{name} {dtype}"] = x.tolist()
    x = mine()
    dist.all_reduce(x, op=dist.ReduceOp.AVG)
    return {**found, "average": x.tolist()}


def collectives() -> dict[str, Any]:
    gathered, parts = [torch.zeros(3, device="cuda") for _ in range(WORLD)], torch.empty(2, device="cuda")
    whole, exchanged = torch.arange(2.0 * WORLD, device="cuda") + RANK, torch.empty(2 * WORLD, device="cuda")
    sent, at_root = mine(), mine()
    dist.all_gather(gathered, mine())
    dist.reduce_scatter_tensor(parts, whole)
    dist.all_to_all_single(exchanged, whole)
    dist.broadcast(sent, src=1)
    dist.reduce(at_root, dst=0)
    return {
        "gathered": [each.tolist() for each in gathered],
        "scattered": parts.tolist(),
        "exchanged": exchanged.tolist(),
        "broadcast": sent.tolist(),
        "reduced to 0": at_root.tolist() if RANK == 0 else None,
    }


def objects() -> dict[str, Any]:
    mine = {"rank": RANK, "text": "x" * 1000 * RANK}
    gathered: list[Any] = [None] * WORLD
    dist.all_gather_object(gathered, mine)
    told: list[Any] = ["first", {"second": 2}] if RANK == 0 else [None, None]
    dist.broadcast_object_list(told, src=0)
    at_root: list[Any] | None = [None] * WORLD if RANK == 0 else None
    dist.gather_object(RANK, at_root, dst=0)
    part: list[Any] = [None]
    dist.scatter_object_list(part, [f"for {rank}" for rank in range(WORLD)] if RANK == 0 else None, src=0)
    sent: list[Any] = [RANK, "sent"] if RANK == 0 else [None, None]
    if RANK == 0:
        dist.send_object_list(sent, dst=1)
    elif RANK == 1:
        dist.recv_object_list(sent, src=0)
    texts: list[Any] = [None] * WORLD
    dist.all_gather_object(texts, str(RANK) * LARGE_OBJECT * (RANK + 1) if RANK < 2 else "short")
    lengths = [(len(text), len(set(text))) for text in texts]
    return {"gathered": gathered, "told": told, "at root": at_root, "part": part, "sent": sent, "large": lengths}


def groups() -> dict[str, Any]:
    """Communicators of some of the ranks: a new one, and one that is split off by a mesh."""
    pair: Any = dist.new_group([0, WORLD - 1])
    mesh = init_device_mesh("cuda", (1, WORLD), mesh_dim_names=("one", "all"))
    x, y, alone = mine(), mine(), mine()
    if RANK in (0, WORLD - 1):
        dist.all_reduce(x, group=pair)
    dist.all_reduce(y, group=mesh["all"].get_group())
    dist.all_reduce(alone, group=mesh["one"].get_group())
    return {"pair": x.tolist(), "all": y.tolist(), "one": alone.tolist()}


def unordered() -> list[list[float]]:
    """Two communicators on two streams, which the ranks use in different orders: no rank waits for a later call."""
    groups: Any = [dist.new_group(list(range(WORLD))) for _ in range(2)]
    for group in groups:  # makes its communicator, for which all ranks wait
        dist.all_reduce(mine(), group=group)
    values = [mine(), 10 * mine()]
    for i in (0, 1) if RANK else (1, 0):
        with torch.cuda.stream(torch.cuda.Stream()):
            dist.all_reduce(values[i], group=groups[i])
    return [each.tolist() for each in values]


def pairs() -> list[float]:
    """A ring: each rank first sends, then receives, in one batch."""
    got, to, source = torch.zeros(3, device="cuda"), (RANK + 1) % WORLD, (RANK - 1) % WORLD
    for work in dist.batch_isend_irecv([dist.P2POp(dist.isend, mine(), to), dist.P2POp(dist.irecv, got, source)]):
        work.wait()
    return got.tolist()


def behind() -> dict[str, Any]:
    """Calls whose results are read late, or overwritten before, and unknown values."""
    late = [mine() for _ in range(300)]
    for x in late:
        dist.all_reduce(x)
    overwritten = mine()
    dist.all_reduce(overwritten)
    overwritten.fill_(5)
    unknown = mine().exp_() if RANK == 0 else mine()
    dist.all_reduce(unknown)
    large = torch.ones(LARGE // 4, device="cuda")
    dist.all_reduce(large)
    return {
        "late": [x.tolist() for x in (late[0], late[-1])],
        "overwritten": overwritten.tolist(),
        "unknown": unknown.tolist(),
        "large": large[:2].tolist(),
    }


def shared() -> float:
    """Only after the barrier is the file of the other rank there."""
    file = Path(sys.argv[1]) / "shared"
    if RANK == 0:
        torch.cuda._sleep(1)
        file.write_text("1.5")
    dist.barrier()
    return float(file.read_text())


def captured() -> list[float]:
    """A captured collective does not run, on any rank; the next one outside is the next call of all."""
    x, graph = mine(), torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        dist.all_reduce(x)
    y = mine()
    dist.all_reduce(y)
    return y.tolist()


CASES: list[Callable[[], Any]] = [
    reduced, collectives, objects, groups, unordered, pairs, behind, shared, captured,
]  # fmt: skip


def one_rank() -> None:
    global RANK  # noqa: PLW0603  of this process
    RANK = int(os.environ["RANK"])
    torch.cuda.set_device(RANK)
    dist.init_process_group("nccl")
    found = {case.__name__: case() for case in CASES}
    (Path(sys.argv[1]) / f"rank{RANK}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


warnings.simplefilter("ignore")
sys.exit(any(run_ranks(WORLD, one_rank)))
