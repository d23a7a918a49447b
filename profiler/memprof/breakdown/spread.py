"""The peaks of one point when something varies that a config does not set, and the spread between them.

- The order of the driver's addresses, and how PyTorch chooses between free blocks of one size. From PyTorch 2.12 on,
  ties go to the oldest segment, and allocated and reserved bytes do not depend on the driver's addresses. Older
  versions take the lowest address (`BlockComparatorSize` in c10/cuda/CUDACachingAllocator.cpp), so that the figures of
  a real GPU may be anywhere in the spread, or near it: a phantom does as one real driver was observed to do.
- When the work of a stream is done. The allocator uses a block again that another stream used once the GPU has got to
  its end. A phantom answers as a GPU that is busy; an idle one has finished everything at once.
- Whether `torch.compile` finds its kernels in its caches.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from memprof.allocator.address_order import AddressPolicy
from memprof.allocator.simulator import peak_requested, simulate
from memprof.records import Reading, Status

FIGURES = ("requested", "allocated", "reserved")  # each contains the one before


@dataclass(frozen=True, kw_only=True)
class SpreadRun:
    """The peaks of the point with one setting, until it ended; ``None`` if nothing was read."""

    setting: str
    status: Status
    requested_bytes: int | None
    allocated_bytes: int | None
    reserved_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The lowest and the highest value of one figure."""

    lowest_bytes: int
    highest_bytes: int

    @property
    def bytes(self) -> int:
        """Highest minus lowest."""
        return self.highest_bytes - self.lowest_bytes


@dataclass(frozen=True, kw_only=True)
class PointSpread:
    """Runs on phantoms: `runs` with different orders of addresses, `timings` and `caches` with what their names say.

    The first run of `runs`, and that of `timings`, is the one with the default settings. `simulated` replays the first
    run's requests with each order; ties are broken by address, as PyTorch before 2.12 does, whatever version ran. It is
    empty if the requests are unknown (the run failed) or cannot be simulated (expandable segments). `caches` is empty
    unless the config compiles the model.
    """

    runs: tuple[SpreadRun, ...]
    simulated: tuple[SpreadRun, ...]
    timings: tuple[SpreadRun, ...] = ()
    caches: tuple[SpreadRun, ...] = ()

    def spread(self, figure: str) -> Spread | None:
        """Return the spread of one of `FIGURES` over the orders of addresses."""
        return spread_of(self.runs, figure)

    def simulated_spread(self, figure: str) -> Spread | None:
        """Return the spread of one of `FIGURES` over the simulations, which break ties by address."""
        return spread_of(self.simulated, figure)

    @property
    def ended_differently(self) -> tuple[SpreadRun, ...]:
        """The runs with another status than the first one, for example out of memory."""
        every = (*self.runs, *self.simulated, *self.timings, *self.caches)
        return tuple(run for run in every if run.status is not self.runs[0].status)


def spread_run(setting: str, status: Status, reading: Reading | None) -> SpreadRun:
    """Return the peaks of a run with `setting`."""
    return SpreadRun(
        setting=setting,
        status=status,
        requested_bytes=reading.peak_requested_bytes if reading else None,
        allocated_bytes=reading.peak_allocated_bytes if reading else None,
        reserved_bytes=reading.peak_reserved_bytes if reading else None,
    )


def simulate_orders(
    requests: Sequence[int], available_bytes: int | None, refused: Collection[int] = ()
) -> tuple[SpreadRun, ...]:
    """Simulate `requests` for each order of addresses, with ties between free blocks broken by address.

    Args:
        requests: in the form of `memprof.allocator.simulator.simulate`.
        available_bytes: the memory that CUDA can give; ``None`` for any amount.
        refused: the indices of the allocations that failed and that the run did without.
    """
    requested_bytes, runs = peak_requested(requests, refused), []
    for policy in AddressPolicy:
        found = simulate(requests, available_bytes, addresses=policy, optional=refused)
        run = SpreadRun(
            setting=policy.value,
            status=Status.OK if found.fits else Status.OOM,
            requested_bytes=requested_bytes if found.fits else None,
            allocated_bytes=found.peak_allocated_bytes,
            reserved_bytes=found.peak_reserved_bytes,
        )
        runs.append(run)
    return tuple(runs)


def spread_of(runs: Sequence[SpreadRun], figure: str) -> Spread | None:
    """Return the spread of one of `FIGURES` over the runs that ended with the status of the first one."""
    values = [getattr(run, f"{figure}_bytes") for run in runs if run.status is runs[0].status]
    known = [value for value in values if value is not None]
    return Spread(lowest_bytes=min(known), highest_bytes=max(known)) if known else None
