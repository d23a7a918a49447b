"""The functions of the phantom's library that the values of the host need."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

_HIDDEN_MODES = 1  # the mode of this package, which is the first of its thread


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(None)
    library.phantom_end_answers.restype = ctypes.c_uint64
    library.phantom_zeros_read.restype = ctypes.c_uint64
    library.phantom_has_values.restype = ctypes.c_bool
    library.phantom_block_at.restype = ctypes.c_uint64
    library.phantom_peers_are_absent.restype = ctypes.c_bool
    return library


def is_phantom() -> bool:
    """Return whether this process runs on a phantom."""
    return hasattr(ctypes.CDLL(None), "phantom_answer_reads")


def hide_mode(hidden: bool) -> None:
    """Let PyTorch's C++ code allocate as if no dispatch mode were active, or no longer."""
    _library().phantom_hide_modes(ctypes.c_uint64(_HIDDEN_MODES if hidden else 0))


@contextmanager
def answers(words: Sequence[int], *, all_known: bool) -> Iterator[None]:
    """Let the next copies to the host give `words`; further ones are counted as unknown, unless `all_known`."""
    array = (ctypes.c_uint64 * len(words))(*(word & 0xFFFF_FFFF_FFFF_FFFF for word in words))
    _library().phantom_answer_reads(array, ctypes.c_size_t(len(words)), ctypes.c_bool(all_known))
    try:
        yield
    finally:
        _library().phantom_end_answers()


def count_unknown_read() -> None:
    """Count one more read of a value that neither the phantom nor the host knows."""
    _library().phantom_count_zeros_read()


def peers_are_absent() -> bool:
    """Return whether this process is one rank of many, and the others do not exist."""
    return bool(_library().phantom_peers_are_absent())


def keep_values(address: int, values: bytes) -> None:
    """Let the phantom know the values at an address of the device."""
    _library().phantom_keep_values(ctypes.c_void_p(address), values, ctypes.c_size_t(len(values)))


@dataclass(frozen=True, slots=True)
class Block:
    """A block that PyTorch's allocator has handed out; no other block has its number, at the same address or later."""

    number: int
    start: int
    nbytes: int


def find_block(address: int) -> Block | None:
    """Return the block that contains an address of the device; ``None`` if the allocator has handed out none."""
    start, size = ctypes.c_void_p(), ctypes.c_size_t()
    number = _library().phantom_block_at(ctypes.c_void_p(address), ctypes.byref(start), ctypes.byref(size))
    return Block(number, start.value or 0, size.value) if number else None


def known_values(address: int, size_bytes: int) -> tuple[bytearray, bool] | None:
    """Return what the phantom knows of a range of the device, zeros for the rest, and whether it knows all.

    ``None`` if it knows nothing.
    """
    place = ctypes.c_void_p(address), ctypes.c_size_t(size_bytes)
    if not size_bytes or not _library().phantom_has_values(*place):
        return None
    values, known = bytearray(size_bytes), bytearray(size_bytes)
    buffer = ctypes.c_char * size_bytes
    _library().phantom_recall_known(buffer.from_buffer(values), buffer.from_buffer(known), *place)
    return values, all(known)
