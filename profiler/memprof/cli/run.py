"""`memprof run`: run any command on a simulated GPU (a phantom)."""

from __future__ import annotations

import json as json_format
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from memprof.breakdown.snapshot import check_writable
from memprof.cli import next_command, options
from memprof.cli.console import stderr
from memprof.errors import ConfigError, ExitCode, ResultError
from memprof.experiments.run import SimulatedRun, simulate, simulate_each
from memprof.gpus.catalog import DEFAULT_GPU, find_gpu
from memprof.gpus.phantom.absent_store import OneRank
from memprof.gpus.phantom.run import RunRequest, end_like
from memprof.gpus.phantom.writes import Writes, WritesSummary, choose_writes
from memprof.gpus.spec import GpuSpec
from memprof.records import Status
from memprof.report.documents import run_document
from memprof.report.terminal.run import run_lines, runs_table
from memprof.report.verdicts import limit_verdict, run_verdict
from memprof.units import format_bytes, parse_bytes

EXAMPLES = """\
memprof run -- python train.py
memprof run --gpu t4 -- python train.py --epochs 1
memprof run --gpu h100-80gb:8 -- python train_data_parallel.py
memprof run --gpu h100-80gb --rank 3 --world-size 64 -- python train.py
memprof run --fits t4,l4,a10g -- python train.py
memprof run --max 8GiB --json peak.json -- python train.py"""
CONTEXT_SETTINGS = {"allow_interspersed_args": False, "ignore_unknown_options": True}
_SEVERAL = re.compile(r"(?P<name>.+):(?P<count>\d+)")
_MOST = 16
_LAUNCHERS = ("torchrun", "accelerate", "deepspeed", "mpirun", "srun")
_INTERRUPTED = (-2, 130)  # SIGINT ended the command, or it ended itself by the custom of shells


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options of the command, as they were written."""

    gpu: str | None = None
    fits: Sequence[str] = ()
    most: str | None = None
    json: Path | None = None
    snapshot: Path | None = None
    writes: str = "keep"
    values: str = "zeros"
    rank: int | None = None
    world_size: int | None = None


def command(
    command: options.Command,
    gpu: options.SimulatedGpu = None,
    fits: options.FitsGpus = None,
    max_: options.MostMemory = None,
    json: options.RunJson = None,
    snapshot: options.RunSnapshot = None,
    writes: options.CheckpointWrites = "keep",
    values: options.RunValues = "zeros",
    rank: options.OneRank = None,
    world_size: options.WorldSize = None,
) -> int:
    """Run a command on a simulated GPU."""
    wanted = RunOptions(
        gpu=gpu,
        fits=fits or (),
        most=max_,
        json=json,
        snapshot=snapshot,
        writes=writes,
        values=values,
        rank=rank,
        world_size=world_size,
    )
    return run(command, wanted)


def run(command: Sequence[str], wanted: RunOptions) -> int:
    """Run `command` on phantoms, and print its peaks to stderr; return its exit status, or end as it ended.

    With ``--fits`` the status says whether it fits on all GPUs. If the peak is above ``--max``, it is
    `ExitCode.REGRESSION`, unless the command failed.
    """
    _check(wanted)
    choice, limit_bytes = choose_writes(wanted.writes), _limit(wanted.most)
    if wanted.fits:
        return _run_each(command, wanted, choice)
    spec, devices = _gpus(wanted.gpu or DEFAULT_GPU)
    asked = RunRequest(
        spec=spec,
        command=command,
        devices=devices,
        writes=choice,
        snapshot=wanted.snapshot,
        one_rank=_one_rank(command, wanted),
        values=_computes_values(wanted),
    )
    done = simulate(asked, lambda: _print(_banner(asked)))
    _print_answer(done, limit_bytes)
    _write([done], wanted.json)
    if done.ended.returncode == 0 and limit_bytes is not None and limit_verdict(done, limit_bytes):
        return ExitCode.REGRESSION
    return end_like(done.ended.returncode)


def _run_each(command: Sequence[str], wanted: RunOptions, choice: Writes) -> int:
    """Run on one GPU after the other, and print a table; a command that was interrupted ends the loop."""
    specs = [find_gpu(name) for text in wanted.fits for name in text.split(",") if name]
    if not specs:
        raise ConfigError("--fits: name GPUs that `memprof gpus` lists, for example t4,l4,a10g")
    rank, values = _one_rank(command, wanted), _computes_values(wanted)
    first = RunRequest(spec=specs[0], command=command, writes=choice, one_rank=rank, values=values)
    runs = []

    def announce(spec: GpuSpec) -> None:
        _print(_banner(replace(first, spec=spec)))

    for done in simulate_each(first, list(dict.fromkeys(specs)), announce):
        if done.ended.returncode in _INTERRUPTED:
            return end_like(done.ended.returncode)
        for line in (run_verdict(done), *_kept(done.ended.writes)):
            _print(line)
        runs.append(done)
    console = stderr()
    console.print()
    console.print(runs_table(runs, console.width))
    if following := next_command.after_runs(runs):
        _print(f"next: {following}")
    _write(runs, wanted.json)
    statuses = {done.status for done in runs}
    if statuses - {Status.OK, Status.OOM}:
        return ExitCode.FAILED_ROWS
    return ExitCode.DOES_NOT_FIT if Status.OOM in statuses else ExitCode.OK


def _check(wanted: RunOptions) -> None:
    """Refuse what cannot be done before anything is run."""
    if wanted.fits:
        given = {"--gpu": wanted.gpu, "--max": wanted.most, "--snapshot": wanted.snapshot}
        if clash := next((name for name, value in given.items() if value is not None), None):
            raise ConfigError(
                f"--fits cannot be combined with {clash}: it names the GPUs and judges each by its memory"
            )
    if wanted.snapshot is not None:
        check_writable(wanted.snapshot)
    if wanted.json is not None and (wanted.json.is_dir() or not wanted.json.absolute().parent.is_dir()):
        raise ResultError(f"--json {wanted.json}: must be a file in a folder that exists, for example peak.json")


def _one_rank(command: Sequence[str], wanted: RunOptions) -> OneRank | None:
    """Return the rank that runs of how many; ``None`` if the command runs as it is.

    Raises:
        ConfigError: there is no such rank, or the command starts ranks itself.
    """
    rank, world_size = wanted.rank or 0, wanted.world_size
    if world_size is None:
        if wanted.rank is not None:
            raise ConfigError(f"--rank {rank}: write how many ranks there are too, for example --world-size 8")
        return None
    if world_size < 1 or not 0 <= rank < world_size:
        raise ConfigError(f"--rank {rank} --world-size {world_size}: a rank is a number from 0 to world size - 1")
    if (name := Path(command[0]).name) in _LAUNCHERS:
        raise ConfigError(f"--world-size {world_size}: {name} starts ranks itself; write -- python train.py instead")
    return OneRank(rank=rank, world_size=world_size)


def _computes_values(wanted: RunOptions) -> bool:
    if wanted.values not in ("zeros", "cpu"):
        raise ConfigError(f"--values {wanted.values}: write zeros or cpu")
    if wanted.values == "cpu" and wanted.world_size is not None:
        raise ConfigError("--values cpu: values of absent ranks are unknown; leave out --values or --world-size")
    return wanted.values == "cpu"


def _limit(most: str | None) -> int | None:
    if most is None:
        return None
    try:
        limit_bytes = parse_bytes(most)
    except ValueError as error:
        raise ConfigError(f"--max: {error}") from None
    if limit_bytes < 1:
        raise ConfigError(f"--max {most}: must be above 0; write for example 8GiB")
    return limit_bytes


def _gpus(gpu: str) -> tuple[GpuSpec, int]:
    several = _SEVERAL.fullmatch(gpu)
    spec = find_gpu(several["name"] if several else gpu)
    count = int(several["count"]) if several else 1
    if not 1 <= count <= _MOST:
        raise ConfigError(f"--gpu {gpu}: a run has 1 to {_MOST} phantom GPUs")
    return spec, count


def _print_answer(done: SimulatedRun, limit_bytes: int | None) -> None:
    asked, ended = done.asked, done.ended
    lines = [run_verdict(done), *run_lines(done)]
    if limit_bytes is not None and (above := limit_verdict(done, limit_bytes)):
        lines.insert(1, above)
    lines += _kept(ended.writes)
    if asked.snapshot is not None:
        written = f"of process {ended.snapshot_pid} in {asked.snapshot}" if ended.snapshot_pid else "was not written"
        lines.append(f"memory history {written}")
    if following := next_command.after_run(done, asked.snapshot):
        lines.append(f"next: {following}")
    for line in lines:
        _print(line)


def _write(runs: Sequence[SimulatedRun], file: Path | None) -> None:
    if file is not None:
        try:
            file.write_text(json_format.dumps(run_document(runs), indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise ResultError(f"--json {file}: cannot be written: {error.strerror}") from None


def _print(line: str) -> None:
    stderr().print(f"memprof: {line}", soft_wrap=True)


def _banner(asked: RunRequest) -> str:
    checkpoints = "replace your files" if asked.writes is Writes.ALLOW else "are kept apart from your files"
    values = "the CPU computes tensor values" if asked.values else "tensor values are zeros"
    return f"simulated {asked.spec.name}: {values}, checkpoints {checkpoints}"


def _kept(writes: WritesSummary | None) -> list[str]:
    lines: list[str] = []
    if writes is None:
        return lines
    if writes.files:
        sizes = f"{format_bytes(writes.size_bytes)}, {format_bytes(writes.disk_bytes)} on disk"
        where = f"kept out of {_near(writes.origin)}"
        after = "removed" if writes.folder is None else f"{writes.folder}"
        lines.append(f"{_count(writes.files, 'checkpoint file')} ({sizes}) {where}: {after}")
    if writes.undeleted:
        verb = "is" if writes.undeleted == 1 else "are"
        files = _count(writes.undeleted, "file")
        lines.append(f"{files} of older checkpoints that the command deleted {verb} still there")
    return lines


def _near(folder: Path) -> str:
    here = Path(os.path.realpath("."))
    if folder == here:
        return "."
    return f"./{folder.relative_to(here)}" if folder.is_relative_to(here) else str(folder)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"
