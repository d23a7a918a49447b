"""One point where the driver hands out addresses in several orders: what it takes in each, and the spread between them.

From PyTorch 2.12 on, ties between free blocks of one size go to the oldest segment, and allocated and reserved bytes do
not depend on the driver's addresses. Older versions take the lowest address (`BlockComparatorSize` in
c10/cuda/CUDACachingAllocator.cpp), so that on them a card's figures may lie anywhere in the spread, or near it: a
phantom hands out addresses as one real driver was seen to, and others may do otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memprof.allocator.address_order import AddressPolicy
from memprof.allocator.simulator import peak_requested, simulate
from memprof.records import Reading, Status

FIGURES = ("requested", "allocated", "reserved")  # in the order in which each contains the one before


@dataclass(frozen=True, kw_only=True)
class AddressRun:
    """The peaks of the point under one order of addresses, until its end; ``None`` where nothing was read."""

    policy: AddressPolicy
    status: Status
    requested_bytes: int | None
    allocated_bytes: int | None
    reserved_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The lowest and the highest of one figure."""

    lowest_bytes: int
    highest_bytes: int

    @property
    def bytes(self) -> int:
        """How far they lie apart."""
        return self.highest_bytes - self.lowest_bytes


@dataclass(frozen=True, kw_only=True)
class AddressSpread:
    """The runs on phantoms, the plain one first, and the plain run's requests acted out with ties broken by address.

    `acted_out` says what PyTorch before 2.12 would do, whatever version ran; it is empty if the requests are unknown
    (the run failed) or cannot be simulated (expandable segments).
    """

    runs: tuple[AddressRun, ...]
    acted_out: tuple[AddressRun, ...]

    def spread(self, figure: str) -> Spread | None:
        """Return the spread of one of `FIGURES` over the runs that ended as the plain one did."""
        return _spread(self.runs, figure)

    def acted_out_spread(self, figure: str) -> Spread | None:
        """Return the spread of one of `FIGURES` where ties are broken by address."""
        return _spread(self.acted_out, figure)

    @property
    def ended_otherwise(self) -> tuple[AddressRun, ...]:
        """The runs that ended in another way than the plain one; out of memory, say."""
        return tuple(run for run in (*self.runs, *self.acted_out) if run.status is not self.runs[0].status)


def address_run(policy: AddressPolicy, status: Status, reading: Reading | None) -> AddressRun:
    """Return what was read of a run under `policy`."""
    return AddressRun(
        policy=policy,
        status=status,
        requested_bytes=reading.peak_requested_bytes if reading else None,
        allocated_bytes=reading.peak_allocated_bytes if reading else None,
        reserved_bytes=reading.peak_reserved_bytes if reading else None,
    )


def act_out(requests: Sequence[int], available_bytes: int | None) -> tuple[AddressRun, ...]:
    """Return what `requests` take under each order where ties between free blocks are broken by address.

    Args:
        requests: as `memprof.allocator.simulator.simulate` takes them.
        available_bytes: what CUDA gives at most; ``None`` for any amount.
    """
    requested_bytes, runs = peak_requested(requests), []
    for policy in AddressPolicy:
        found = simulate(requests, available_bytes, addresses=policy)
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
