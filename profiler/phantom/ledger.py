"""Reading the ledger in which the processes of one run share a phantom's memory. `ledger.c` writes it."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_DEVICES = 16
_HEAD = struct.Struct(f"={_DEVICES}Q{_DEVICES}QQ")  # used, peak, unknown workspaces; process rows follow


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """What a run took of each phantom device. The peaks include the CUDA contexts."""

    used_bytes: tuple[int, ...]
    peak_bytes: tuple[int, ...]
    unknown_workspaces: int


@contextmanager
def new_ledger() -> Iterator[Path]:
    """An empty ledger for the processes of one run, removed at the end."""
    with tempfile.NamedTemporaryFile(prefix="memprof-ledger-") as file:
        yield Path(file.name)


def read_ledger(path: Path) -> Ledger | None:
    """Return the state of the ledger, or ``None`` where no process of the run touched a device."""
    content = path.read_bytes()
    if len(content) < _HEAD.size:
        return None
    figures = _HEAD.unpack_from(content)
    return Ledger(
        used_bytes=figures[:_DEVICES],
        peak_bytes=figures[_DEVICES : 2 * _DEVICES],
        unknown_workspaces=figures[2 * _DEVICES],
    )
