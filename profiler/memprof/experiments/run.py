"""A command on phantom GPUs: how it ended, and how much of each GPU it took."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from memprof.gpus.catalog import load_catalog
from memprof.gpus.phantom.counters import TorchCounters
from memprof.gpus.phantom.run import CommandRun, RunRequest, run_command
from memprof.gpus.select import runnable_gpus
from memprof.gpus.spec import GpuSpec
from memprof.records import Status

_SUGGESTIONS = 3
_CLEARLY = 1.1  # what a command needs is known only up to its first refused request


@dataclass(frozen=True, kw_only=True)
class SimulatedRun:
    """What was run on which GPU, and what came of it."""

    asked: RunRequest
    ended: CommandRun

    @property
    def status(self) -> Status:
        """Return ``OOM`` if the command failed and a request for GPU memory was refused to one of its processes.

        A command that ran out of memory, tried again and succeeded is ``OK``.
        """
        if self.ended.returncode == 0:
            return Status.OK
        if self.refusals:
            return Status.OOM
        return Status.KILLED if self.ended.returncode < 0 else Status.ERROR

    @property
    def refusals(self) -> int:
        """The requests for GPU memory that were refused, of all processes."""
        return sum(found.refusals for found in self.ended.counters)

    @property
    def device_peaks_bytes(self) -> tuple[int, ...]:
        """The peak of each GPU's memory, CUDA contexts included; empty if no process used a GPU."""
        ledger = self.ended.ledger
        peaks = ledger.peak_bytes[: self.asked.devices] if ledger else ()
        return peaks if any(peaks) else ()

    @property
    def peak_bytes(self) -> int | None:
        """The peak of the GPU that was used most."""
        return max(self.device_peaks_bytes, default=None)

    @property
    def fits(self) -> bool:
        """Whether the command used a GPU and succeeded."""
        return self.status is Status.OK and self.peak_bytes is not None

    @property
    def unknown_workspaces(self) -> int:
        """The workspaces whose size no library reported: it is modelled, or not counted."""
        return self.ended.ledger.unknown_workspaces if self.ended.ledger else 0

    @property
    def communicators(self) -> int:
        """The communicators of NCCL, whose memory is unknown."""
        return self.ended.ledger.communicators if self.ended.ledger else 0

    @property
    def needed_bytes(self) -> int | None:
        """A lower bound of the memory that the command needs; ``None`` if it did not run out of memory.

        It is what would have been reserved with a refused request, and the CUDA context. PyTorch refuses only after it
        has given back what it had cached.
        """
        if self.status is not Status.OOM:
            return None
        wanted = max(found.wanted_bytes or 0 for found in self.ended.counters)
        return max(wanted + self.asked.spec.context_bytes, self.peak_bytes or 0)

    def largest_process(self, gpu: int) -> TorchCounters | None:
        """Return the counters of the process that reserved most on a GPU; ``None`` if none used PyTorch there."""
        there = [found for found in self.ended.counters if found.gpu == gpu]
        return max(there, key=lambda found: found.peak_reserved_bytes, default=None)


def simulate(asked: RunRequest, announce: Callable[[], None] = lambda: None) -> SimulatedRun:
    """Run the command once; the errors are those of `run_command`."""
    return SimulatedRun(asked=asked, ended=run_command(asked, announce))


def simulate_each(
    asked: RunRequest, specs: Sequence[GpuSpec], announce: Callable[[GpuSpec], None]
) -> Iterator[SimulatedRun]:
    """Run the command on one GPU of each kind, one after the other."""
    for spec in specs:
        yield simulate(replace(asked, spec=spec, devices=1), lambda spec=spec: announce(spec))  # type: ignore[misc]


def larger_gpus(spec: GpuSpec, needed_bytes: int) -> list[str]:
    """Return up to three GPUs with more memory than a command is known to need, each clearly larger than the last."""
    runnable, found = set(runnable_gpus()), []
    least = max(needed_bytes, spec.total_bytes) * _CLEARLY
    for other in sorted(load_catalog().values(), key=lambda other: other.total_bytes):
        if other.key in runnable and other.total_bytes > least:
            found.append(other.key)
            least = other.total_bytes * _CLEARLY
    return found[:_SUGGESTIONS]
