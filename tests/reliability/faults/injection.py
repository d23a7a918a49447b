"""Let the n-th call that writes below a folder fail, as SQLite tests its files: `faults.c` is preloaded for that."""

from __future__ import annotations

import errno
import mmap
import struct
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from memprof.gpus.phantom.build import find_compiler

_PLAN = struct.Struct("=4q")  # `Plan` of faults.c: calls so far, first and last call that fail, error
_NEVER = 2**62
ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS)


class Extent(Enum):
    """Whether one call fails, or every call from that one on, as on a disk that stays full."""

    ONCE = "once"
    FROM_THEN_ON = "from then on"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """The call that fails, counted from 1, and how."""

    call: int
    error: int
    extent: Extent

    def __str__(self) -> str:
        return f"{errno.errorcode[self.error]} at call {self.call}, {self.extent.value}"


def faults_of(calls: int) -> list[Fault]:
    """Return every fault of a program that makes so many calls."""
    numbers = range(1, calls + 1)
    return [Fault(call=n, error=error, extent=extent) for error in ERRORS for extent in Extent for n in numbers]


def build_library(folder: Path) -> Path:
    """Compile `faults.c` into `folder`."""
    library, source = folder / "libfaults.so", Path(__file__).with_name("faults.c")
    command = [*find_compiler(), "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"]
    subprocess.run([*command, "-o", str(library), str(source), "-ldl"], check=True)
    return library


class Injector:
    """The plan that all processes of a program read: which call fails. It counts calls as long as nothing is armed."""

    def __init__(self, file: Path) -> None:
        self._path = file
        if not file.exists():
            file.write_bytes(bytes(_PLAN.size))
        with file.open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), _PLAN.size)
        self.arm(None)

    def variables(self, library: Path, below: Path) -> Mapping[str, str]:
        """Return the environment of a program whose calls below a folder are counted and may fail."""
        return {
            "LD_PRELOAD": str(library),
            "MEMPROF_FAULTS": str(self._path),
            "MEMPROF_FAULTS_BELOW": str(below.resolve()),
        }

    def arm(self, fault: Fault | None) -> None:
        """Count from 0 again, and let `fault` happen."""
        first = fault.call if fault else _NEVER
        last = first if fault and fault.extent is Extent.ONCE else _NEVER
        self._map[:] = _PLAN.pack(0, first, last, fault.error if fault else 0)

    @property
    def calls(self) -> int:
        """How many calls there were since `arm`."""
        count: int = _PLAN.unpack(self._map)[0]
        return count
