"""Reading the ledgers of phantoms: how much memory of each GPU is taken, by which process. `ledger.c` writes them.

All processes of one `memprof run` share a ledger; other processes on a phantom, such as those of a sweep, have one
each. All ledgers are in one folder of the user, so that `memprof monitor` finds those that are in use.
"""

from __future__ import annotations

import os
import re
import struct
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

_DEVICES = 16
_PROCESSES = 64
# Used, peak, unknown workspaces, communicators, memory of one GPU, number of GPUs, name.
_HEAD = struct.Struct(f"={_DEVICES}Q{_DEVICES}Q4Q256s")
_PROCESS = struct.Struct(f"=q{_DEVICES}Q{_DEVICES}Q")  # its process id, used, peak
_VARIABLE = "MEMPROF_PHANTOM_LEDGER"
_OWNER = re.compile(r"(?:run-)?(?P<pid>\d+).*\.ledger")


@dataclass(frozen=True, kw_only=True)
class LedgerProcess:
    """One process on the phantom GPUs: what it has of each GPU's memory now and at its peak, contexts included."""

    pid: int
    used_bytes: tuple[int, ...]
    peak_bytes: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """What is taken of each phantom GPU's memory, contexts included, and by which process."""

    gpu_name: str
    total_bytes: int  # of each GPU
    devices: int
    used_bytes: tuple[int, ...]
    peak_bytes: tuple[int, ...]
    unknown_workspaces: int
    processes: tuple[LedgerProcess, ...]
    communicators: int = 0  # of NCCL, of all processes


@contextmanager
def new_ledger() -> Iterator[Path]:
    """Yield an empty ledger for the processes of one run; it is removed at the end."""
    prefix = f"run-{os.getpid()}-"
    with tempfile.NamedTemporaryFile(prefix=prefix, suffix=".ledger", dir=ledger_folder()) as file:
        yield Path(file.name)


def ledger_folder() -> Path | None:
    """Return the folder of this user's ledgers, created if it is missing; ``None`` if it is unavailable.

    It is ``memprof`` in XDG_RUNTIME_DIR, or ``memprof-`` and the user's id in the folder for temporary files.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    parent = Path(runtime) if runtime and os.access(runtime, os.W_OK) else None
    folder = parent / "memprof" if parent else Path(tempfile.gettempdir()) / f"memprof-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        ours = folder.lstat().st_uid == os.getuid() and os.access(folder, os.W_OK)
    except OSError:
        return None
    return folder if ours else None


def own_ledgers() -> Mapping[str, str]:
    """Return the variable that gives each process its own phantom, whose ledger is in `ledger_folder`."""
    folder = ledger_folder()
    return {_VARIABLE: "" if folder is None else f"{folder}/"}


def shared_ledger(file: Path) -> Mapping[str, str]:
    """Return the variable that lets all processes share the phantom whose ledger is `file`."""
    return {_VARIABLE: str(file)}


def forget_ledger(pid: int) -> None:
    """Remove the own ledger of process `pid`: a process that was killed could not remove it."""
    folder = os.environ.get(_VARIABLE, "")
    if folder.endswith("/"):
        with suppress(OSError):
            (Path(folder) / f"{pid}.ledger").unlink()


def read_ledger(path: Path) -> Ledger | None:
    """Return the state of the ledger, or ``None`` if no process of the run used a device."""
    content = path.read_bytes()
    if len(content) < _HEAD.size + _PROCESSES * _PROCESS.size:
        return None
    *figures, name = _HEAD.unpack_from(content)
    rows = _PROCESS.iter_unpack(content[_HEAD.size : _HEAD.size + _PROCESSES * _PROCESS.size])
    unknown, communicators, total, devices = figures[2 * _DEVICES :]
    return Ledger(
        gpu_name=name.split(b"\0")[0].decode(errors="replace"),
        total_bytes=total,
        devices=devices,
        used_bytes=tuple(figures[:_DEVICES]),
        peak_bytes=tuple(figures[_DEVICES : 2 * _DEVICES]),
        unknown_workspaces=unknown,
        communicators=communicators,
        processes=tuple(
            LedgerProcess(pid=pid, used_bytes=tuple(rest[:_DEVICES]), peak_bytes=tuple(rest[_DEVICES:]))
            for pid, *rest in rows
            if pid > 0
        ),
    )


def running_ledgers() -> dict[Path, Ledger]:
    """Return this user's ledgers that are in use, in the order of their process ids; remove those that are left over.

    A process that was killed gave nothing back to its ledger: its memory does not count here, as with a driver.
    """
    folder = ledger_folder()
    running: dict[Path, Ledger] = {}
    for path in sorted(folder.glob("*.ledger"), key=_owner) if folder else ():
        with suppress(FileNotFoundError):  # its process has ended in the meantime
            ledger = read_ledger(path)
            alive = [process for process in ledger.processes if _holds(process.pid, path)] if ledger else []
            if not alive and not _holds(_owner(path), path):
                path.unlink()
            elif ledger:
                running[path] = _without_the_dead(ledger, tuple(alive))
    return running


def _owner(path: Path) -> int:
    """Return the process id in the ledger's name, that of the process that created it; 0 if it has none."""
    found = _OWNER.fullmatch(path.name)
    return int(found["pid"]) if found else 0


def _without_the_dead(ledger: Ledger, alive: tuple[LedgerProcess, ...]) -> Ledger:
    dead = [process.used_bytes for process in ledger.processes if process not in alive]
    used = tuple(used - sum(gone) for used, *gone in zip(ledger.used_bytes, *dead, strict=True))
    return replace(ledger, used_bytes=used, processes=alive)


def _holds(pid: int, path: Path) -> bool:
    """Return whether the process has the file open or mapped: its id may be another process's by now.

    Open files are checked first, since a process maps a new ledger before it closes the file.
    """
    process = Path(f"/proc/{pid}")
    with suppress(OSError):  # no such process, or another user's
        if str(path) in (_target(link) for link in (process / "fd").iterdir()):
            return True
        return str(path) in (process / "maps").read_text(errors="replace")
    return False


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:  # closed since
        return ""
