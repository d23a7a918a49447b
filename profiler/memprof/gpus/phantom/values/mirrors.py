"""The values of device tensors on the host: one mirror for each block of the device's memory.

Blocks are known by address alone. A Python object for a tensor's storage would count as one of its users, and PyTorch
then adds up gradients in new memory instead of in place.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import is_fake

from .link import Block, find_block, known_values

if TYPE_CHECKING:
    from .pending import Operation

_BLOCKS_BETWEEN_SWEEPS = 256


@dataclass(slots=True)
class HostMemory:
    """The host's memory that values take."""

    bytes: int = 0
    peak_bytes: int = 0

    def add(self, more_bytes: int) -> None:
        """Count more bytes, or fewer."""
        self.bytes += more_bytes
        self.peak_bytes = max(self.peak_bytes, self.bytes)


class Mirror:
    """The values of one block of the device; the host's memory for them is taken when they are first needed."""

    __slots__ = ("__weakref__", "_counted_bytes", "_memory", "is_unknown", "nbytes", "readers", "storage", "writers")

    def __init__(self, nbytes: int, memory: HostMemory) -> None:
        self.nbytes, self._memory, self._counted_bytes = nbytes, memory, 0
        self.storage: torch.UntypedStorage | None = None
        self.is_unknown = False  # the host does not know the values; they are zeros
        self.writers: list[Operation] = []  # that have not run yet, in their order
        self.readers: weakref.WeakSet[Operation] = weakref.WeakSet()

    def filled(self, needed_bytes: int) -> torch.UntypedStorage:
        """Return the storage on the host with at least `needed_bytes`; new memory has zeros."""
        if self.storage is None:
            return self.keep(torch.zeros(max(self.nbytes, needed_bytes), dtype=torch.uint8).untyped_storage())
        if self.storage.nbytes() < needed_bytes:
            self.storage.resize_(needed_bytes)
            self.keep(self.storage)
        return self.storage

    def keep(self, storage: torch.UntypedStorage) -> torch.UntypedStorage:
        """Let `storage` of the host have the values."""
        self.storage = storage
        self._memory.add(storage.nbytes() - self._counted_bytes)
        self._counted_bytes = storage.nbytes()
        return storage

    def __del__(self) -> None:
        self._memory.add(-self._counted_bytes)


@dataclass(frozen=True, slots=True)
class Layout:
    """How a tensor looks at its storage."""

    dtype: torch.dtype
    size: torch.Size
    stride: tuple[int, ...]
    offset: int
    is_conjugate: bool
    is_negative: bool

    def of(self, mirror: Mirror) -> Tensor:
        """Return the same view of the values on the host."""
        last = sum((size - 1) * stride for size, stride in zip(self.size, self.stride, strict=True))
        elements = self.offset + last + 1 if 0 not in self.size else 0
        storage = mirror.filled(elements * self.dtype.itemsize)
        made = torch.empty(0, dtype=self.dtype)
        made.set_(storage, self.offset, self.size, self.stride)
        made = made.conj() if self.is_conjugate else made
        return torch._neg_view(made) if self.is_negative else made


@dataclass(frozen=True, slots=True)
class View:
    """A tensor of the device as the host knows it."""

    mirror: Mirror
    layout: Layout

    def tensor(self) -> Tensor:
        """Return its values."""
        return self.layout.of(self.mirror)


class Mirrors:
    """All mirrors, by the number of their block; those of freed blocks are dropped from time to time."""

    def __init__(self, memory: HostMemory) -> None:
        self._memory = memory
        self._kept: dict[int, tuple[Block, Mirror]] = {}
        self._next_sweep = _BLOCKS_BETWEEN_SWEEPS
        self._before_use: dict[int, list[Callable[[], None]]] = {}

    def call_before_use(self, tensor: Tensor, function: Callable[[], None]) -> None:
        """Call `function` before any operator gets a view of the block of `tensor`."""
        self._before_use.setdefault(_block_of(tensor).number, []).append(function)

    def view(self, tensor: Tensor) -> View:
        """Return the view of a tensor of the device; an unknown block has what the phantom knows of it."""
        block = _block_of(tensor)
        if self._before_use:
            for function in self._before_use.pop(block.number, ()):
                function()
        found = self._kept.get(block.number)
        return _view(tensor, block, found[1] if found else self._add(block, recalled=True))

    def new_views(self, results: Iterable[object]) -> list[tuple[int, View]]:
        """Return the views of those results that are in a new block of the device, with their positions."""
        found = [(at, item, _block_of(item)) for at, item in enumerate(results) if has_values(item)]
        new = [(at, item, block) for at, item, block in found if block.number not in self._kept]
        return [(at, _view(item, block, self._new(block))) for at, item, block in new]

    def sweep(self) -> None:
        """Drop the mirrors of blocks that no longer exist."""
        gone = [number for number, (block, _mirror) in self._kept.items() if find_block(block.start) != block]
        for number in gone:
            del self._kept[number]
            self._before_use.pop(number, None)
        self._next_sweep = len(self._kept) + _BLOCKS_BETWEEN_SWEEPS

    def _new(self, block: Block) -> Mirror:
        found = self._kept.get(block.number)  # two results may share a block
        return found[1] if found else self._add(block, recalled=False)

    def _add(self, block: Block, *, recalled: bool) -> Mirror:
        mirror = Mirror(block.nbytes, self._memory)
        if recalled:
            _recall(mirror, block)
        if not block.number:
            return mirror
        self._kept[block.number] = block, mirror
        if len(self._kept) > self._next_sweep:
            self.sweep()
        return mirror


def has_values(item: object) -> TypeGuard[Tensor]:
    """Return whether `item` is a tensor of the device with a storage; sparse and fake tensors have none."""
    return isinstance(item, Tensor) and item.is_cuda and item.layout is torch.strided and not is_fake(item)


def _block_of(tensor: Tensor) -> Block:
    """Return the block of a tensor; tensors without elements have none, and others may be of another allocator."""
    address = tensor.data_ptr()
    return find_block(address) or Block(0, address, 0) if address else Block(0, 0, 0)


def _view(tensor: Tensor, block: Block, mirror: Mirror) -> View:
    offset = (tensor.data_ptr() - block.start) // tensor.dtype.itemsize if tensor.numel() else 0
    layout = Layout(tensor.dtype, tensor.size(), tensor.stride(), offset, tensor.is_conj(), tensor.is_neg())
    return View(mirror, layout)


def _recall(mirror: Mirror, block: Block) -> None:
    known = known_values(block.start, block.nbytes)
    mirror.is_unknown = block.start > 0 and not (known and known[1])
    if known:
        mirror.keep(torch.frombuffer(known[0], dtype=torch.uint8).clone().untyped_storage())
