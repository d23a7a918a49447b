"""Running any command on phantom GPUs: output, exit status and signals pass through."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from memprof.errors import ConfigError
from memprof.gpus.phantom.absent_store import OneRank, absent_store
from memprof.gpus.phantom.build import build_phantom
from memprof.gpus.phantom.counters import (
    TorchCounters,
    count_uncounted,
    counters_environment,
    new_counters,
    read_counters,
)
from memprof.gpus.phantom.environment import phantom_environment
from memprof.gpus.phantom.ledger import Ledger, new_ledger, read_ledger
from memprof.gpus.phantom.mailboxes import mailboxes_environment, new_mailboxes
from memprof.gpus.phantom.snapshots import keep_snapshot, snapshot_environment, snapshot_folder, values_environment
from memprof.gpus.phantom.writes import Writes, WritesSummary, finish_scratch, scratch_folder, writes_environment
from memprof.gpus.spec import GpuSpec

_PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


@dataclass(frozen=True, kw_only=True)
class CommandRun:
    """How a command ended, and the memory that its processes took. `ledger` is ``None`` if none of them used CUDA."""

    returncode: int  # negative: the number of the signal that ended it
    ledger: Ledger | None
    counters: tuple[TorchCounters, ...] = ()  # of each process that used PyTorch on a GPU
    uncounted: int = 0  # further such processes
    writes: WritesSummary | None = None  # what was kept apart from the user's files; ``None`` if nothing is
    snapshot_pid: int | None = None  # the process whose history was written; ``None`` if none was


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """A command to run with `devices` phantoms of `spec` as its only GPUs."""

    spec: GpuSpec
    command: Sequence[str]
    devices: int = 1
    writes: Writes = Writes.KEEP
    snapshot: Path | None = None  # where the allocator's history of the largest process goes
    one_rank: OneRank | None = None  # of a script for several; the other ranks are absent
    values: bool = False  # of tensors, which the CPU computes


def run_command(asked: RunRequest, announce: Callable[[], None] = lambda: None) -> CommandRun:
    """Run the command and wait for it.

    `announce` is called when everything is there, right before the command starts.

    Signals to this process are passed on to the command. Ctrl-C in a terminal reaches both, and the command decides.

    Raises:
        ConfigError: there is no such command, or the time limit for other ranks is no number.
        DeviceError: phantoms are unavailable on this machine.
        ResultError: the snapshot cannot be written.
    """
    if shutil.which(asked.command[0]) is None:
        raise ConfigError(f"run: there is no command {asked.command[0]!r}")
    libraries = build_phantom()
    with ExitStack() as stack:
        ledger, counters = stack.enter_context(new_ledger()), stack.enter_context(new_counters())
        history = stack.enter_context(snapshot_folder()) if asked.snapshot else None
        scratch = stack.enter_context(_scratch(asked.writes, history))
        added = {**phantom_environment(libraries, asked.spec, devices=asked.devices, ledger=ledger)}
        added |= counters_environment(libraries, counters, added["LD_PRELOAD"])
        added |= mailboxes_environment(stack.enter_context(new_mailboxes()))
        added |= writes_environment(libraries, scratch, added["LD_PRELOAD"]) if scratch else {}
        added |= snapshot_environment(history) if history else {}
        added |= values_environment() if asked.values else {}
        if asked.one_rank is not None:
            added |= asked.one_rank.environment(asked.devices, stack.enter_context(absent_store()))
        announce()
        returncode = _wait(_start(asked.command, added))
        counted = read_counters(counters)
        return CommandRun(
            returncode=returncode,
            ledger=read_ledger(ledger),
            counters=counted,
            uncounted=count_uncounted(counters),
            writes=finish_scratch(scratch, asked.writes) if scratch else None,
            snapshot_pid=keep_snapshot(history, counted, asked.snapshot) if history and asked.snapshot else None,
        )


@contextmanager
def _scratch(writes: Writes, history: Path | None) -> Iterator[Path | None]:
    if writes is Writes.ALLOW:
        yield None
        return
    with scratch_folder([history] if history else []) as folder:
        yield folder


def _start(command: Sequence[str], added: Mapping[str, str]) -> subprocess.Popen[bytes]:
    # A simulated run must not appear among the user's experiments; W&B's own variable, see docs.wandb.ai.
    environment = {"WANDB_MODE": "offline", **os.environ, **added}
    try:
        return subprocess.Popen(list(command), env=environment)
    except OSError as error:
        raise ConfigError(f"run: the command {command[0]!r} cannot be started: {error.strerror}") from error


def _wait(child: subprocess.Popen[bytes]) -> int:
    def pass_on(number: int, _frame: FrameType | None) -> None:
        child.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in _PASSED_ON}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_like(returncode: int) -> int:
    """Return the command's exit status, or end by the signal that ended the command, so that callers see the same."""
    if returncode >= 0:
        return returncode
    sys.stdout.flush()
    sys.stderr.flush()
    if -returncode not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(-returncode, signal.SIG_DFL)
    os.kill(os.getpid(), -returncode)
    return 128 - returncode
