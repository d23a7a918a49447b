"""The peaks of one point for several orders of the driver's addresses, and the spread between them.

From PyTorch 2.12 on, ties between free blocks of one size go to the oldest segment, and allocated and reserved bytes do
not depend on the driver's addresses. Older versions take the lowest address (`BlockComparatorSize` in
c10/cuda/CUDACachingAllocator.cpp), so that the figures of a real GPU may be anywhere in the spread, or near it: a
phantom assigns addresses as one real driver was observed to do, and other drivers may differ.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from memprof.allocator.address_order import AddressPolicy
from memprof.allocator.simulator import peak_requested, simulate
from memprof.records import Reading, Status

FIGURES = ("requested", "allocated", "reserved")  # each contains the one before


@dataclass(frozen=True, kw_only=True)
class AddressRun:
    """The peaks of the point for one order of addresses, until it ended; ``None`` if nothing was read."""

    policy: AddressPolicy
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
class AddressSpread:
    """Runs on phantoms with different orders of addresses, and simulations of the first run's requests.

    The first run has the default order. The simulations break ties by address, as PyTorch before 2.12 does, whatever
    version ran; `simulated` is empty if the requests are unknown (the run failed) or cannot be simulated (expandable
    segments).
    """

    runs: tuple[AddressRun, ...]
    simulated: tuple[AddressRun, ...]

    def spread(self, figure: str) -> Spread | None:
        """Return the spread of one of `FIGURES` over the runs that ended with the status of the first one."""
        return _spread(self.runs, figure)

    def simulated_spread(self, figure: str) -> Spread | None:
        """Return the spread of one of `FIGURES` over the simulations, which break ties by address."""
        return _spread(self.simulated, figure)

    @property
    def ended_differently(self) -> tuple[AddressRun, ...]:
        """The runs with another status than the first one, for example out of memory."""
        return tuple(run for run in (*self.runs, *self.simulated) if run.status is not self.runs[0].status)


def address_run(policy: AddressPolicy, status: Status, reading: Reading | None) -> AddressRun:
    """Return the peaks of a run with the order `policy`."""
    return AddressRun(
        policy=policy,
        status=status,
        requested_bytes=reading.peak_requested_bytes if reading else None,
        allocated_bytes=reading.peak_allocated_bytes if reading else None,
        reserved_bytes=reading.peak_reserved_bytes if reading else None,
    )


def simulate_orders(
    requests: Sequence[int], available_bytes: int | None, refused: Collection[int] = ()
) -> tuple[AddressRun, ...]:
    """Simulate `requests` for each order of addresses, with ties between free blocks broken by address.

    Args:
        requests: in the form of `memprof.allocator.simulator.simulate`.
        available_bytes: the memory that CUDA can give; ``None`` for any amount.
        refused: the indices of the allocations that failed and that the run did without.
    """
    requested_bytes, runs = peak_requested(requests, refused), []
    for policy in AddressPolicy:
        found = simulate(requests, available_bytes, addresses=policy, optional=refused)
        run = AddressRun(
            policy=policy,
            status=Status.OK if found.fits else Status.OOM,
            requested_bytes=requested_bytes if found.fits else None,
            allocated_bytes=found.peak_allocated_bytes,
            reserved_bytes=found.peak_reserved_bytes,
        )
        runs.append(run)
    return tuple(runs)


def _spread(runs: Sequence[AddressRun], figure: str) -> Spread | None:
    values = [getattr(run, f"{figure}_bytes") for run in runs if run.status is runs[0].status]
    known = [value for value in values if value is not None]
    return Spread(lowest_bytes=min(known), highest_bytes=max(known)) if known else None
