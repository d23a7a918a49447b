"""Points in Slurm jobs, through submitit: each job measures a chunk, and only this process writes results."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from memprof.config.load import LoadedConfig
from memprof.config.schema import SweepConfig
from memprof.engines.acquired import Acquiring
from memprof.engines.agreement import check_environment
from memprof.engines.assignment import assign
from memprof.engines.options import EngineOptions
from memprof.engines.protocol import PointResult, Task
from memprof.engines.runner import Refused
from memprof.engines.slurm_chunk import LineReader, describe, estimate, measure_chunk
from memprof.errors import ConfigError, DeviceError, one_line
from memprof.gpus.select import Device
from memprof.records import Breakdown, Environment, Outcome, Source, Status
from memprof.worker.protocol import Point

_MOST_JOBS = 8  # by default; each waits in the queue and imports PyTorch once
_MEMORY_GB = 4  # of a job: a worker and one child
_MINUTES = 60  # SBATCH_TIMELIMIT overrides it
_POLL_SECONDS = 0.5
_CHECK_SECONDS = 5.0  # between two questions about the state of a job: each is a call of sacct
_LOCAL = "local"  # the address: jobs are processes of this machine


@dataclass(kw_only=True)
class _Chunk:
    job: Any
    tasks: dict[int, Task]  # those without a result
    reader: LineReader
    is_again: bool
    checked: float = field(default_factory=time.monotonic)


class SlurmEngine(Acquiring):
    """Measures in at most `most` jobs at a time; it cancels them with its block."""

    def __init__(
        self,
        configs: Sequence[LoadedConfig],
        device: Device,
        options: EngineOptions,
        most: int,
        note: Callable[[str], None],
    ) -> None:
        super().__init__()
        self._configs, self._device, self._options, self._note = configs, device, options, note
        self._jobs = min(options.runners or _MOST_JOBS, most)
        self._environment: Environment | None = None
        self._node = ""
        self._chunks: list[_Chunk] = []

    def _acquire(self) -> None:
        submitit = _submitit(self._options.address)
        self._assignment = assign(self._configs, self._device)
        self._folder = _shared_folder(self._options.spool, self._stack)
        self._alive = self._folder / "alive"
        self._alive.touch()
        self._executor = _executor(submitit, self._folder, self._options.address, self._device)
        self._stack.callback(self._cancel)

    @property
    def place(self) -> str:
        """How many jobs are queued or run."""
        return f"{len(self._chunks):,} Slurm job{'s' * (len(self._chunks) != 1)}"

    def environment(self) -> Environment:
        """Return the environment that a job sees."""
        if self._environment is None:
            line = self._ask(describe)
            self._environment, self._node = line.environment, line.node
        return self._environment

    def breakdowns(
        self,
        points: Sequence[Point],
        config: SweepConfig | None = None,
        device: Device | None = None,
        *,
        with_peaks: bool = True,
    ) -> tuple[Breakdown, ...]:
        """Return the analytic breakdown of each of `points`, from a job."""
        found = self._ask(estimate, points, config, device and device.choice, with_peaks)
        return tuple(found)

    def results(self, tasks: Sequence[Task]) -> Generator[tuple[int, PointResult], None, None]:
        """Yield the index and the result of each task as its job writes it; one that was lost twice is an error."""
        numbered = dict(enumerate(tasks))
        count = min(self._jobs, len(tasks))
        for first in range(count):
            self._submit({index: numbered[index] for index in range(first, len(tasks), count)}, is_again=False)
        while self._chunks:
            self._alive.touch()
            found = [one for chunk in list(self._chunks) for one in self._collect(chunk)]
            yield from found
            if not found:
                time.sleep(_POLL_SECONDS)

    def _submit(self, tasks: dict[int, Task], *, is_again: bool) -> None:
        file = self._folder / f"chunk-{min(tasks)}-{int(is_again)}.jsonl"
        job = self._executor.submit(measure_chunk, self._assignment, list(tasks.items()), file, self._alive)
        self._chunks.append(_Chunk(job=job, tasks=tasks, reader=LineReader(file), is_again=is_again))

    def _collect(self, chunk: _Chunk) -> list[tuple[int, PointResult]]:
        """Return the new results of a chunk; at the end of its job, ask again for what is missing, or give it up."""
        has_ended = self._has_ended(chunk)  # before the last lines are read
        found = list(self._new_results(chunk))
        if not chunk.tasks:
            self._chunks.remove(chunk)
        elif has_ended:
            self._chunks.remove(chunk)
            found += self._missing(chunk, _why(chunk.job))
        return found

    def _has_ended(self, chunk: _Chunk) -> bool:
        if time.monotonic() - chunk.checked < _CHECK_SECONDS and self._options.address != _LOCAL:
            return False
        chunk.checked = time.monotonic()
        return bool(chunk.job.done())

    def _new_results(self, chunk: _Chunk) -> Generator[tuple[int, PointResult], None, None]:
        for line in chunk.reader.new_lines():
            if line.environment is not None:
                check_environment(self.environment(), line.environment, line.node, self._node)
            elif line.index in chunk.tasks and line.result is not None:
                del chunk.tasks[line.index]
                yield line.index, line.result

    def _missing(self, chunk: _Chunk, reason: str) -> list[tuple[int, PointResult]]:
        count = f"{len(chunk.tasks):,} point{'s' * (len(chunk.tasks) != 1)}"
        if not chunk.is_again:
            self._note(f"{count} of job {chunk.job.job_id} are asked for again: {reason}")
            self._submit(chunk.tasks, is_again=True)
            return []
        outcome = Outcome(status=Status.ERROR, error=f"its job ended twice: {reason}")
        return [(index, PointResult(breakdown=None, outcome=outcome, seconds=0.0)) for index in chunk.tasks]

    def _ask(self, function: Callable[..., Any], *values: Any) -> Any:
        """Run one call in a job, and wait for it."""
        job = self._executor.submit(function, self._assignment, *values)
        self._stack.callback(self._end, job)
        while not job.done():
            self._alive.touch()
            time.sleep(_POLL_SECONDS)
        found = _returned(job)
        if isinstance(found, Refused):
            raise found.error()
        return found

    def _cancel(self) -> None:
        for chunk in self._chunks:
            self._end(chunk.job)

    def _end(self, job: Any) -> None:
        """Cancel a job. One that is a process of this machine would print a traceback if submitit cancelled it."""
        with suppress(Exception):  # it has just ended, or scancel failed: Slurm then ends it at its time limit
            if self._options.address != _LOCAL:
                job.cancel()
            elif not job.done():
                os.kill(int(job.job_id), signal.SIGKILL)


def _submitit(address: str) -> Any:
    if find_spec("submitit") is None:
        raise ConfigError("--engine slurm needs the package submitit; run: pip install 'memprof-gpu[slurm]'")
    if address not in ("auto", _LOCAL):
        raise ConfigError(f"--address {one_line(address, 100)}: with --engine slurm, auto or local")
    if address == "auto" and shutil.which("sbatch") is None:
        raise DeviceError("--engine slurm: there is no sbatch here; run memprof on a login node of the cluster")
    import submitit

    return submitit


def _executor(submitit: Any, folder: Path, address: str, device: Device) -> Any:
    executor = submitit.AutoExecutor(folder=folder / "jobs", cluster=_LOCAL if address == _LOCAL else "slurm")
    gpus = 1 if device.source is Source.MEASURED else 0
    executor.update_parameters(
        name="memprof", timeout_min=_MINUTES, mem_gb=_MEMORY_GB, cpus_per_task=1, gpus_per_node=gpus
    )
    return executor


def _shared_folder(spool: Path, stack: ExitStack) -> Path:
    """Make a folder that the jobs can see too, and remove it with `stack`."""
    existed = spool.exists()
    try:
        spool.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".slurm-", dir=spool)).resolve()
    except OSError as error:
        raise DeviceError(f"{spool} cannot be written, and the jobs need it: {error.strerror}") from error
    if not existed:
        stack.callback(_remove_empty, spool)
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):  # results are there
        folder.rmdir()


def _returned(job: Any) -> Any:
    """Return what the function of a job returned.

    Raises:
        DeviceError: the job ended without an answer.
    """
    try:
        return job.result()
    except Exception as error:
        raise DeviceError(f"Slurm job {job.job_id} failed: {_reason(error)}") from error


def _why(job: Any) -> str:
    """Return why a job ended before its points were done.

    Raises:
        MemprofError: it was refused.
    """
    try:
        found = job.result()
    except Exception as error:  # noqa: BLE001  as above
        return _reason(error)
    if isinstance(found, Refused):
        raise found.error()
    return "it ended early"


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return one_line(lines[-1] if lines else type(error).__name__, 200)
