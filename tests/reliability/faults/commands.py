"""memprof's commands while a call that writes fails: exit status, lines, and what is left of the user's files."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from memprof.breakdown.snapshot import explain_snapshot
from memprof.errors import ExitCode
from memprof.gpus.phantom.build import build_phantom
from memprof.results import Kind, load
from memprof.results.load import MANIFEST_FILE, find_runs
from tests.paths import ROOT
from tests.reliability.faults.injection import ERRORS, Extent, Fault, Injector, build_library
from tests.reliability.kills.sandbox import Sandbox

OLDER = b"an older file of the user's"
_SAVE = "import torch; torch.save(torch.ones(100, device='cuda'), 'best.pt'); print(len(torch.load('best.pt')))"
_KEPT = re.compile(r"kept out of \S+: (/\S+)")


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command, the older files that it writes over, and a check of the file that it has written instead."""

    arguments: tuple[str, ...]
    writes: tuple[str, ...] = ()
    is_whole: Callable[[Path], bool] = field(default=lambda path: path.stat().st_size > 0)
    resumes: bool = False
    keeps_older: bool = False  # also if nothing fails
    may_fail: bool = False  # with the status of the user's own program


@dataclass(kw_only=True)
class FaultReport:
    """What a campaign has found: the calls and the cases of each command, and the problems."""

    calls: dict[str, int] = field(default_factory=dict)
    cases: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def commands(config: Path, saved: Path) -> Mapping[str, Command]:
    """Return the commands; `saved` is a finished sweep."""
    measure = (str(config), "--gpu", "t4", "--output-dir", "results", "--optimizer", "sgd", "--json")
    return {
        "sweep": Command(arguments=("sweep", *measure)),
        "sweep, resumed": Command(arguments=("sweep", *measure), resumes=True),
        "explain --snapshot": Command(
            arguments=("explain", *measure, "--snapshot", "peak.pickle"), writes=("peak.pickle",), is_whole=_is_snapshot
        ),
        "plot": Command(arguments=("plot", str(saved), "-o", "plot.png"), writes=("plot.png",)),
        "report": Command(
            arguments=("report", str(saved), "-o", "page.html"),
            writes=("page.html",),
            is_whole=lambda path: path.read_text().rstrip().endswith("</html>"),
        ),
        "run": Command(
            arguments=("run", "--gpu", "t4", "--", "python", "-c", _SAVE),
            writes=("best.pt",),
            keeps_older=True,
            may_fail=True,
        ),
    }


def _is_snapshot(path: Path) -> bool:
    return bool(explain_snapshot(path))


def rotating_faults(calls: int) -> Iterator[Fault]:
    """Yield a fault for each call; the errors take turns, and so do one call that fails and all from that one on."""
    extents = list(Extent)
    for number in range(1, calls + 1):
        yield Fault(call=number, error=ERRORS[number % len(ERRORS)], extent=extents[number % len(extents)])


class FaultyCommands:
    """Runs the commands in a sandbox; everything below `folder` may fail."""

    def __init__(self, sandbox: Sandbox, library_folder: Path) -> None:
        self._sandbox = sandbox
        self.folder = sandbox.root / "faulty"
        self.folder.mkdir()
        self._injector = Injector(library_folder / "plan")
        self._variables = self._injector.variables(build_library(library_folder), self.folder)
        self._saved = max((ROOT / "results" / "mnist_mlp").iterdir())
        self.commands = commands(sandbox.config, self._saved)
        self._unfinished = sandbox.root / "unfinished"

    def count(self, name: str) -> tuple[int, list[str]]:
        """Run a command without a fault; return how many of its calls can fail, and what is wrong."""
        self._prepare(self.commands[name])
        self._injector.arm(None)
        done = self._run(name)
        calls = self._injector.calls
        problems = list(self._problems(self.commands[name], done))
        return calls, problems if done.returncode == 0 else [*problems, f"ended with {done.returncode}: {done.stderr}"]

    def inject(self, name: str, fault: Fault) -> list[str]:
        """Run a command with a fault, and then without; return what is wrong."""
        command = self.commands[name]
        self._prepare(command)
        self._injector.arm(fault)
        done = self._run(name)
        self._injector.arm(None)
        problems = list(self._problems(command, done))
        again = self._run(name)
        problems += [f"again: {problem}" for problem in self._problems(command, again)]
        return problems if again.returncode == 0 else [*problems, f"again: ended with {again.returncode}"]

    def _prepare(self, command: Command) -> None:
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        shutil.copytree(build_phantom().folder.resolve().parent, self.folder / "cache" / "phantom", symlinks=True)
        for path in (self.folder / "cache", self.folder / "cache" / "phantom"):
            path.chmod(0o700)
        for name in command.writes:
            (self.folder / name).write_bytes(OLDER)
        if command.resumes:
            if not self._unfinished.exists():
                self._make_unfinished()
            shutil.copytree(self._unfinished, self.folder / "results")

    def _make_unfinished(self) -> None:
        """A sweep whose process was killed after the first row."""
        self._injector.arm(None)
        self._run("sweep")
        (run,) = find_runs(self.folder / "results" / "slow")
        manifest, rows = run / MANIFEST_FILE, run / "records.jsonl"
        manifest.write_text(manifest.read_text().replace('"complete": true', '"complete": false'))
        rows.write_text(rows.read_text().split("\n")[0] + '\n{"schema')
        shutil.move(self.folder / "results", self._unfinished)

    def _run(self, name: str) -> subprocess.CompletedProcess[str]:
        environment = {**self._variables, "MEMPROF_CACHE_DIR": str(self.folder / "cache")}
        process = self._sandbox.start(self.commands[name].arguments, folder=self.folder, **environment)
        printed, said = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, printed, said)

    def _problems(self, command: Command, done: subprocess.CompletedProcess[str]) -> Iterator[str]:
        yield from _problems_of_end(command, done)
        for name in command.writes:
            path = self.folder / name
            is_older = path.is_file() and path.read_bytes() == OLDER
            if command.keeps_older and not is_older:
                yield f"{name} was changed"
            elif not is_older and not (path.is_file() and command.is_whole(path)):
                yield f"{name} is neither the older file nor a whole new one"
            elif is_older and done.returncode == 0 and not command.keeps_older:
                yield f"{name} is the older file after status 0"
        yield from self._left_over(_KEPT.search(done.stderr))
        for run in find_runs(self.folder / "results" / "slow"):
            saved = load(run, kinds=tuple(Kind))
            if len(saved.records) > saved.manifest.points_planned:
                yield f"{len(saved.records)} rows"

    def _left_over(self, kept: re.Match[str] | None) -> Iterator[str]:
        yield from (f"left {what}" for what in self._sandbox.left_over())
        for path in self.folder.rglob("*"):
            if path.name.endswith(".new") or path.name.startswith(".check-"):
                yield f"left {path}"
        for run in self.folder.glob("results/slow/*"):
            if not (run / MANIFEST_FILE).exists():
                yield f"left {run.name} without a manifest"
        for scratch in self.folder.glob("cache/writes/run-*"):
            if kept is None or str(scratch) != kept[1]:
                yield f"left {scratch.name}"
            shutil.rmtree(scratch)


def _problems_of_end(command: Command, done: subprocess.CompletedProcess[str]) -> Iterator[str]:
    lines = [line for line in done.stderr.splitlines() if line.startswith("memprof: ")]
    documented = {int(status) for status in ExitCode} - {int(ExitCode.INTERNAL_ERROR)}
    if not command.may_fail and (done.returncode not in documented or "Traceback" in done.stderr or len(lines) > 1):
        yield f"ended with {done.returncode}: {done.stderr[-500:]}"
    if done.returncode not in (0, *documented) and "memprof: internal error" in done.stderr:
        yield f"internal error: {done.stderr[-500:]}"


def run_faults(sandbox: Sandbox, library_folder: Path, every: int = 1) -> FaultReport:
    """Let each call of each command fail, or every n-th of them."""
    faulty, report = FaultyCommands(sandbox, library_folder), FaultReport()
    for name in faulty.commands:
        report.calls[name], problems = faulty.count(name)
        report.problems += [f"{name}, no fault: {problem}" for problem in problems]
        chosen = list(rotating_faults(report.calls[name]))[::every]
        for fault in chosen:
            report.problems += [f"{name}, {fault}: {problem}" for problem in faulty.inject(name, fault)]
        report.cases[name] = len(chosen)
    return report
