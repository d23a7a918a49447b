"""The process group of one rank whose peers are absent: PyTorch's NCCL backend, on the phantom's NCCL."""

from __future__ import annotations

import importlib
import os
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from memprof.config.parallel import ParallelConfig

_UNIQUE_ID_BYTES = 128  # NCCL_UNIQUE_ID_BYTES in nccl.h
# Nobody waits for an absent peer, so that PyTorch's own watch over hanging collectives has nothing to find.
_NO_WATCH = {"TORCH_NCCL_ENABLE_MONITORING": "0", "TORCH_NCCL_DUMP_ON_TIMEOUT": "0"}

_stores: list[AbsentPeersStore] = []  # PyTorch's own reference does not keep the methods of a Python class alive


class AbsentPeersStore(dist.Store):  # type: ignore[name-defined,misc]  # a class of C++
    """A store that answers for ranks that do not exist.

    What this rank has set is there. What another rank would have set is an NCCL unique id without content, which is the
    only value that PyTorch itself asks other ranks for.
    """

    def __init__(self) -> None:
        super().__init__()
        self._values: dict[str, bytes] = {}

    def set(self, key: str, value: bytes | str) -> None:
        """Keep a value of this rank."""
        self._values[key] = value.encode() if isinstance(value, str) else value

    def get(self, key: str) -> bytes:
        """Return the value of this rank, or that of an absent one."""
        return self._values.get(key, bytes(_UNIQUE_ID_BYTES))

    def add(self, key: str, amount: int) -> int:
        """Add to a counter, which no other rank changes."""
        total = int(self._values.get(key, b"0")) + amount
        self._values[key] = str(total).encode()
        return total

    def compare_set(self, key: str, expected: str, desired: str) -> bytes:
        """Set a value that is missing, or that is the expected one."""
        if self._values.get(key, b"").decode() == expected:
            self._values[key] = desired.encode()
        return self._values.get(key, expected.encode())

    def check(self, keys: list[str]) -> bool:
        """Return whether this rank has set all of `keys`."""
        return all(key in self._values for key in keys)

    def wait(self, keys: list[str], timeout: timedelta | None = None) -> None:
        """Return at once: absent ranks have always arrived."""

    def delete_key(self, key: str) -> bool:
        """Remove a value, and return whether there was one."""
        return self._values.pop(key, None) is not None

    def num_keys(self) -> int:
        """Return the number of values."""
        return len(self._values)


def open_mesh(parallel: ParallelConfig, device: torch.device) -> DeviceMesh:
    """Create the process group of all ranks with this one in it, and return the mesh of its dimensions.

    The process is a new one, and its NCCL must accept absent peers: it has one group until it ends. Communicators are
    created when they are first used.
    """
    os.environ.update(_NO_WATCH)
    os.environ["LOCAL_RANK"] = str(device.index or 0)  # otherwise a mesh chooses the device by the rank
    mesh = parallel.mesh
    _stores.append(AbsentPeersStore())
    dist.init_process_group("nccl", rank=parallel.rank, world_size=mesh.world_size, store=_stores[-1])
    always = ("shard", "tensor") if mesh.expert > 1 else ()  # transformers asks for both
    sizes = {name: size for name, size in mesh.sizes.items() if size > 1 or name in always} or {"replicate": 1}
    # Stages ask each other for shapes, which an absent stage cannot answer; with PyTorch's backend without peers they
    # take those that they are given.
    other: Any = {"backend_override": {"pipeline": _without_peers()}} if "pipeline" in sizes else {}
    return init_device_mesh(device.type, tuple(sizes.values()), mesh_dim_names=tuple(sizes), **other)


def _without_peers() -> str:
    """Register PyTorch's backend whose collectives do nothing, and return its name."""
    importlib.import_module("torch.testing._internal.distributed.fake_pg")
    return "fake"


def finish_collectives() -> None:
    """Wait until PyTorch has released what it keeps for collectives that are done.

    A thread of PyTorch looks for those every 100 ms (kWatchdogThreadSleepMillis in ProcessGroupNCCL.cpp). A step on a
    real GPU is rarely shorter; on a phantom it would be chance how many steps pass in between.
    """
    for group in list(dist.distributed_c10d._world.pg_map):
        if isinstance(group, dist.ProcessGroup) and dist.get_backend(group) == "nccl":
            backend: Any = group._get_backend(torch.device("cuda"))
            # PyTorch 2.11 has the method on the group alone.
            getattr(backend, "_wait_for_pending_works", group._wait_for_pending_works)()
