"""Values that processes exchange: the phantom's NCCL carries small ones, which the host gives to it and takes back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .link import keep_values, known_values
from .mirrors import Mirror, View
from .operators import NotOnHostError

_LARGEST_MESSAGE_BYTES = 1 << 20  # PHANTOM_MOST_VALUES_BYTES in mailbox.h
_MOST_RANKS = 16  # PHANTOM_MAX_RANKS in mailbox.h


def is_message(tensor: Tensor) -> bool:
    """Return whether the values of a tensor are few enough to be sent."""
    return 0 < _span_bytes(tensor) <= _LARGEST_MESSAGE_BYTES * _MOST_RANKS


def publish(tensor: Tensor, view: View) -> None:
    """Let the phantom know the values that the host has for a tensor of the device."""
    mirror = view.mirror
    if not mirror.is_unknown and mirror.storage is not None:
        start = view.layout.offset * tensor.element_size()
        keep_values(tensor.data_ptr(), _bytes(mirror)[start : start + _span_bytes(tensor)].numpy().tobytes())


@dataclass(slots=True)
class Received:
    """What a collective writes to a tensor of the device; an operation of the host calls it."""

    address: int
    size_bytes: int
    values: bytearray | None = None
    is_known: bool = False

    def take(self) -> None:
        """Wait until the values are there and keep them, before anything else uses the tensor."""
        self.values, self.is_known = known_values(self.address, self.size_bytes) or (None, False)

    def __call__(self, tensor: Tensor) -> None:
        """Write the values to the same tensor of the host, with zeros for those that are unknown.

        Raises:
            NotOnHostError: they are not all known.
        """
        if self.values is None:
            tensor.zero_()
        else:
            whole = torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())
            start = tensor.storage_offset() * tensor.element_size()
            whole[start : start + self.size_bytes] = torch.frombuffer(self.values, dtype=torch.uint8)
        if not self.is_known:
            raise NotOnHostError("values of other processes are unknown, or larger than 1 MiB")

    def __str__(self) -> str:
        return "a collective between processes"


def receive(tensor: Tensor) -> Received:
    """Return what a collective that has begun writes to `tensor`."""
    return Received(tensor.data_ptr(), _span_bytes(tensor))


def _bytes(mirror: Mirror) -> Tensor:
    assert mirror.storage is not None
    return torch.empty(0, dtype=torch.uint8).set_(mirror.storage)


def _span_bytes(tensor: Tensor) -> int:
    """Return the bytes from the first element of a tensor to its last one."""
    if not tensor.numel():
        return 0
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return int(last + 1) * tensor.element_size()
