"""Which engine a command asks for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class EngineKind(StrEnum):
    """The engines by the names that `--engine` takes."""

    LOCAL = "local"
    RAY = "ray"
    SLURM = "slurm"


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """The engine of a command, the address of its cluster, and how many runners it has; ``None``: as many as fit.

    `spool` is a folder that all machines of a Slurm cluster see.
    """

    kind: EngineKind = EngineKind.LOCAL
    address: str = "auto"
    runners: int | None = None
    spool: Path = Path("results")


LOCAL = EngineOptions()
