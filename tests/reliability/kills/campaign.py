"""Random kills of a sweep: which process is killed, by which signal and when follows from a seed.

A sweep is killed up to three times, each time resumed by the same command, and then runs to its end. Afterwards it must
equal a sweep that nobody killed.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from random import Random

from memprof.errors import ExitCode
from memprof.records import RunRecord, Status
from memprof.results import Result, load
from memprof.results.load import find_runs
from tests.reliability.kills.sandbox import POINTS, Sandbox
from tests.worker.processes import children_of

_SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_MOST_KILLS = 3  # of one sweep
_LATEST = 0.9  # of the time of an uninterrupted run; the machine may be faster later
_POLL_SECONDS = 0.01
_ALONE = 0.1  # of the runs start a worker server that imports PyTorch itself
_DOCUMENTED = {int(status) for status in ExitCode} - {int(ExitCode.INTERNAL_ERROR)}


class Target(StrEnum):
    PARENT = "parent"
    SERVER = "server"
    CHILD = "child"


@dataclass(frozen=True, kw_only=True)
class Kill:
    """Which process gets which signal, and when: after a part of an uninterrupted run's time, or so many new rows."""

    target: Target
    number: signal.Signals
    after: float
    rows: int
    alone: bool

    def __str__(self) -> str:
        server = "own" if self.alone else "forked"
        when = f"after {self.rows} rows" if self.rows else f"after {self.after:.2f}"
        return f"{self.number.name} to the {self.target} {when} ({server} server)"


@dataclass(kw_only=True)
class KillReport:
    """What a campaign has found. `kills` counts by target and signal, `resumed` the runs that found saved rows."""

    seed: str
    kills: dict[str, int] = field(default_factory=dict)
    sweeps: int = 0
    resumed: int = 0
    rows: int = 0
    half_made: int = 0  # folders without a manifest
    problems: list[str] = field(default_factory=list)


def choose(random: Random) -> Kill:
    """Return a random kill."""
    return Kill(
        target=random.choice(list(Target)),
        number=random.choice(_SIGNALS),
        after=random.random() * _LATEST,
        rows=random.choice([0, 1, 2, 3]),
        alone=random.random() < _ALONE,
    )


def run_kills(sandbox: Sandbox, count: int, seed: str, limit_seconds: float = math.inf) -> KillReport:
    """Kill sweeps `count` times, or until the time is over, and compare each with one that nobody killed."""
    deadline = time.monotonic() + limit_seconds
    random, report = Random(seed), KillReport(seed=seed)
    reference = measure_reference(sandbox)  # starts the fork server too
    began = time.monotonic()
    if measure_reference(sandbox, "again") != reference:
        report.problems.append("two uninterrupted sweeps differ")
    seconds = time.monotonic() - began
    while sum(report.kills.values()) < count and time.monotonic() < deadline:
        output = sandbox.root / f"results-{report.sweeps}"
        killed = [choose(random) for _ in range(random.randint(1, _MOST_KILLS))][: count - sum(report.kills.values())]
        for kill in killed:
            report.resumed += _is_resumed(output)
            done = _run_killed(sandbox, output, kill, seconds * (6 if kill.alone else 1))
            if done is not None:
                name = f"{kill.target} {kill.number.name}"
                report.kills[name] = report.kills.get(name, 0) + 1
                report.problems += [f"{kill}: {problem}" for problem in _after_kill(sandbox, output, kill, done)]
        _finish(sandbox, output, reference, report)
        report.sweeps += 1
    return report


def measure_reference(sandbox: Sandbox, name: str = "reference") -> tuple[RunRecord, ...]:
    """Return the rows of a sweep that nobody kills."""
    output = sandbox.root / name
    done = sandbox.run(*sandbox.sweep(output))
    assert done.returncode == 0, done.stderr
    (run,) = find_runs(output / "slow")
    return load(run).records


def _run_killed(sandbox: Sandbox, output: Path, kill: Kill, seconds: float) -> subprocess.CompletedProcess[str] | None:
    """Run the sweep and kill one of its processes; ``None`` if it ended before."""
    process = sandbox.start(sandbox.sweep(output), "off" if kill.alone else "start")
    end, rows, sent = time.monotonic() + kill.after * seconds, _count_rows(output) + kill.rows, False
    while process.poll() is None and not sent:
        time.sleep(_POLL_SECONDS)
        is_time = _count_rows(output) >= rows if kill.rows else time.monotonic() >= end
        if is_time and (pid := _find(sandbox, process.pid, kill)) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, kill.number)
                sent = True
    printed, said = process.communicate()
    if not sent:
        return None
    return subprocess.CompletedProcess(process.args, process.returncode, printed, said)


def _count_rows(output: Path) -> int:
    """Return the number of rows in all runs."""
    return sum(file.read_bytes().count(b"\n") for file in output.glob("slow/*/records.jsonl"))


def _is_resumed(output: Path) -> bool:
    """Whether the next run finds rows of one that did not finish."""
    runs = [load(run) for run in find_runs(output / "slow")]
    return any(run.records and not run.manifest.complete for run in runs)


def _find(sandbox: Sandbox, parent: int, kill: Kill) -> int | None:
    """Return the process to kill; ``None`` if it does not run now."""
    if kill.target is Target.PARENT:
        return parent
    with suppress(OSError):
        above = [parent] if kill.alone else sandbox.fork_servers()
        servers = [pid for process in above for pid in children_of(process) if _is_server(pid)]
        if kill.target is Target.SERVER:
            return next(iter(servers), None)
        return next((pid for server in servers for pid in children_of(server) if _is_server(pid)), None)
    return None


def _is_server(pid: int) -> bool:
    """Whether the process is a worker server or its child, and not a program that was started by one."""
    with suppress(OSError):
        return b"memprof.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def _after_kill(sandbox: Sandbox, output: Path, kill: Kill, done: subprocess.CompletedProcess[str]) -> Iterator[str]:
    """Yield what is wrong: the exit status, what was printed, what was left."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("memprof: ")]
    if kill.target is Target.PARENT:
        early = done.returncode == -kill.number and not lines  # before Python had started memprof
        wanted = -kill.number if kill.number is signal.SIGKILL else 128 + kill.number
        if done.returncode != wanted and not early and not (done.returncode == 0 and not lines):
            yield f"ended with {done.returncode}: {done.stderr[-300:]}"
        if early and kill.number is not signal.SIGKILL:
            return
    elif done.returncode not in _DOCUMENTED:
        yield f"ended with {done.returncode}: {done.stderr[-300:]}"
    if "Traceback" in done.stderr or len(lines) > 1:
        yield f"printed {done.stderr[-600:]}"
    yield from (f"left {what}" for what in sandbox.left_over())
    yield from _problems_of_files(output)


def _problems_of_files(output: Path) -> Iterator[str]:
    for run in find_runs(output / "slow"):
        try:
            load(run)
        except Exception as error:  # noqa: BLE001  whatever it is, the result is damaged
            yield f"{run.name} cannot be read: {error}"


def _finish(sandbox: Sandbox, output: Path, reference: tuple[RunRecord, ...], report: KillReport) -> None:
    """Run the sweep to its end, and compare it."""
    report.resumed += _is_resumed(output)
    done = sandbox.run(*sandbox.sweep(output))
    runs = [load(run) for run in find_runs(output / "slow")]
    report.half_made += sum(not (run / "manifest.json").exists() for run in output.glob("slow/*"))
    if done.returncode not in (0, ExitCode.FAILED_ROWS) or len(json.loads(done.stdout)["rows"]) != POINTS:
        report.problems.append(f"the last run ended with {done.returncode}: {done.stderr[-300:]}")
    if not runs or not all(saved.manifest.complete for saved in runs):
        report.problems.append(f"{len(runs)} runs, not all complete")
    for saved in runs:
        report.rows += len(saved.records)
        report.problems += list(_compare(saved, reference))
    report.problems += [f"the last run left {what}" for what in sandbox.left_over()]


def _compare(saved: Result, reference: tuple[RunRecord, ...]) -> Iterator[str]:
    """Yield the rows that differ from an uninterrupted sweep; a row whose process was killed says so."""
    names = [(record.optimizer, record.batch_size) for record in saved.records]
    if names != [(record.optimizer, record.batch_size) for record in reference]:
        yield f"{saved.path}: rows {names}"
        return
    for record, wanted in zip(saved.records, reference, strict=True):
        if record.status is not Status.KILLED and record != wanted:
            yield f"{saved.path}: a row differs: {record}"
