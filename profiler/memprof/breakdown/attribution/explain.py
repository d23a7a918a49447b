"""A history and its notes put together: the explanation of a run's peak."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from memprof.allocator import PREEXISTING, Instant, Replay, Trace, replay
from memprof.breakdown.attribution.annotations import Annotations
from memprof.breakdown.attribution.classify import AllocationInfo, find_holdings, names_module
from memprof.breakdown.attribution.modules import module_rows
from memprof.breakdown.attribution.peaks import Interval, by_step, drawn_positions, next_highest, phase_spans, stretches
from memprof.breakdown.attribution.totals import ALLOCATED_PARTS, Totals, walk
from memprof.breakdown.explanation import (
    CACHED,
    CONTEXT,
    OTHER_PROCESSES,
    Block,
    Category,
    Explanation,
    Parts,
    PeakContext,
    PhaseSpan,
    Timeline,
)
from memprof.records import Phase


@dataclass(frozen=True, kw_only=True)
class DeviceFigures:
    """What the counters said of the same run, for the history to be held against."""

    peak_allocated_bytes: int | None = None
    peak_reserved_bytes: int | None = None
    end_allocated_bytes: int | None = None  # where the peaks' counters began elsewhere than the history
    nvml_used_bytes: int | None = None
    context_bytes: int | None = None


def account_for(
    trace: Trace,
    notes: Annotations,
    figures: DeviceFigures,
    segments: Sequence[Mapping[str, object]] = (),
    *,
    infer_backward: bool = False,
) -> Account:
    """Return a run's history with each allocation accounted for.

    Where the history does not lead to the counters' figures, the difference is a part called ``unknown``.

    Args:
        trace: the history of the run's device.
        notes: what the process noted meanwhile.
        figures: the counters' peaks and NVML's figures.
        segments: what the allocator had when the history began.
        infer_backward: the notes do not say where each backward pass begins, so the stacks must.
    """
    replayed = replay(trace, segments)
    if infer_backward:
        allocated_at = (
            (a.allocated_at, trace.sites[a.site].in_backward)
            for a in replayed.allocations
            if a.allocated_at != PREEXISTING
        )
        notes = notes.with_backward_passes(allocated_at)
    return Account(replayed, trace, notes, figures)


class Account:
    """What a run's history says, once each allocation has its category and its name."""

    def __init__(self, replayed: Replay, trace: Trace, notes: Annotations, figures: DeviceFigures) -> None:
        self._replay, self._trace, self._notes, self._figures = replayed, trace, notes, figures
        self._holdings = find_holdings(replayed, trace.sites, notes)
        self._itinerary = notes.itinerary()
        self._places = stretches(replayed, self._itinerary)
        self._peak, self._reserved_peak = replayed.peak, replayed.reserved_peak
        self._device = self._device_instant()
        self._next = next_highest(self._places, self._peak.position)
        self._steps = [_summit(group) for step, group in by_step(self._places).items() if step and _is_step(group)]
        self._drawn = self._positions_of_peak_step()
        self._totals = self._walk()

    def names(self) -> Iterator[str]:
        """Yield what each allocation of the history held, in order: ``activations: conv2d output in layer1``."""
        for allocation, holding in zip(self._replay.allocations, self._holdings, strict=True):
            if allocation.allocated_at != PREEXISTING:
                told = not holding.module or names_module(holding.name, holding.module)
                inside = "" if told else f" in {holding.module}"
                yield f"{holding.category.value}: {holding.name}{inside}"

    def explanation(self) -> Explanation:
        """Return the peak, taken apart."""
        blocks = self._blocks_at_peak()
        modules, outside = module_rows(blocks, self._notes)
        figures, allocated = self._figures, self._parts_at(self._peak)
        allocated, missing = _filled_up(allocated, self._expected_peak())
        reserved, reserved_missing = _filled_up(self._reserved_parts(), figures.peak_reserved_bytes)
        return Explanation(
            peak_allocated_bytes=sum(allocated.values()),
            peak_requested_bytes=sum(block.requested_bytes for block in blocks),
            peak_reserved_bytes=sum(reserved.values()),
            nvml_used_bytes=figures.nvml_used_bytes,
            context_bytes=figures.context_bytes,
            allocated_parts=allocated,
            reserved_parts=reserved,
            device_parts=self._device_parts(),
            highest_parts=self._totals.highest,
            named=_named_parts(blocks),
            peak=self._moment(self._peak.position),
            next_moments=tuple(self._moment(place.highest) for place in self._next),
            steps=tuple(self._moment(place.highest) for place in self._steps),
            blocks=blocks,
            modules=modules,
            outside_parts=outside,
            timeline=self._timeline(),
            events=len(self._trace),
            unknown_reason=_why_unknown(missing or reserved_missing),
        )

    def _expected_peak(self) -> int | None:
        """The counters' peak, or the history's corrected by what it is off by at its end."""
        peak, end = self._figures.peak_allocated_bytes, self._figures.end_allocated_bytes
        if peak is not None or end is None:
            return peak
        return self._peak.allocated_bytes + end - self._replay.instant(len(self._replay.requests)).allocated_bytes

    def _walk(self) -> Totals:
        instants = (self._peak, self._reserved_peak, self._device)
        positions = {instant.position for instant in instants if instant is not None}
        positions.update(place.highest for place in (*self._next, *self._steps))
        return walk(self._replay, self._holdings, positions.union(self._drawn))

    def _parts_at(self, instant: Instant) -> Parts:
        return self._totals.at[instant.position]

    def _reserved_parts(self) -> Parts:
        instant = self._reserved_peak
        cached = self._replay.peak_reserved_bytes - instant.allocated_bytes
        return {**self._parts_at(instant), CACHED: cached}

    def _device_instant(self) -> Instant | None:
        """The moment of NVML's figure, or the fullest one with as much reserved."""
        position = self._notes.device_position
        if position is None or self._figures.nvml_used_bytes is None:
            return None
        # Not the history's own figure: a request that fails gives segments back, and no move follows it.
        fullest, reserved = self._reserved_peak, self._notes.device_reserved_bytes
        return fullest if fullest.reserved_bytes == reserved else self._replay.instant(position)

    def _device_parts(self) -> Parts | None:
        instant, used, context = self._device, self._figures.nvml_used_bytes, self._figures.context_bytes
        reserved = self._notes.device_reserved_bytes
        if instant is None or used is None or context is None or reserved is None:
            return None
        return {
            **self._parts_at(instant),
            CACHED: reserved - instant.allocated_bytes,
            CONTEXT: context,
            OTHER_PROCESSES: used - context - reserved,
        }

    def _blocks_at_peak(self) -> tuple[Block, ...]:
        indices = self._replay.alive_at(self._peak.position)
        blocks = [self._block(index) for index in indices]
        return tuple(sorted(blocks, key=lambda block: -block.block_bytes))

    def _block(self, index: int) -> Block:
        allocation, holding = self._replay.allocations[index], self._holdings[index]
        return Block(
            category=holding.category,
            name=holding.name,
            requested_bytes=allocation.requested_bytes,
            block_bytes=allocation.block_bytes,
            module=holding.module,
            operator=holding.site.operator,
            step=holding.mark.step,
            phase=_phase(holding),
            line=holding.site.line,
        )

    def _moment(self, position: int) -> PeakContext:
        parts = self._totals.at[position]
        index = self._replay.requests[position - 1] if position else -1
        holding = self._holdings[index] if index >= 0 else None
        mark = self._itinerary[self._itinerary.number_at(position - 1)]
        return PeakContext(
            allocated_bytes=self._replay.instant(position).allocated_bytes,
            step=mark.step,
            phase=_phase(holding) if holding else mark.phase,
            module=mark.module,
            operator=(holding.site.operator or holding.site.node) if holding else None,
            parts=parts,
        )

    def _step_of_peak(self) -> list[Interval]:
        groups = by_step(self._places)
        around = (group for group in groups.values() if group[0].start < self._peak.position <= group[-1].end)
        return next(around, [])

    def _positions_of_peak_step(self) -> list[int]:
        group = self._step_of_peak()
        return drawn_positions(self._replay, group[0].start, group[-1].end) if group else [self._peak.position]

    def _timeline(self) -> Timeline:
        group, positions = self._step_of_peak(), self._drawn
        begin = positions[0]
        points = [self._totals.at[position] for position in positions]
        spans = [
            PhaseSpan(phase=phase, start=start - begin, end=end - begin) for phase, start, end in phase_spans(group)
        ]
        return Timeline(
            step=group[0].mark.step if group else None,
            positions=tuple(position - begin for position in positions),
            series={name: tuple(parts[name] for parts in points) for name in ALLOCATED_PARTS},
            spans=tuple(spans),
            peak_position=self._peak.position - begin,
        )


def _summit(group: Sequence[Interval]) -> Interval:
    return max(group, key=lambda place: place.allocated_bytes)


def _is_step(group: Sequence[Interval]) -> bool:
    """Whether anything was run: behind the last optimizer step a loop only lets go."""
    return any(place.mark.phase not in (None, Phase.ZERO_GRAD) for place in group)


def _phase(holding: AllocationInfo) -> Phase | None:
    """The phase in which it was asked for; the backward pass shows in the stack before the first mark of it."""
    return Phase.BACKWARD if holding.site.in_backward else holding.mark.phase


def _filled_up(parts: Parts, expected: int | None) -> tuple[Parts, int]:
    """Add what the counters saw and the history did not to the unknown; also return how much that is."""
    missing = 0 if expected is None else expected - sum(parts.values())
    unknown = Category.UNKNOWN.value
    return {**parts, unknown: parts[unknown] + missing}, missing


def _why_unknown(missing: int) -> str | None:
    return f"the history and the counters differ by {missing:+,} B" if missing else None


def _named_parts(blocks: Sequence[Block]) -> Parts:
    named: Counter[str] = Counter()
    for block in blocks:
        if block.category in (Category.WORKSPACE, Category.TEMPORARY):
            named[block.name] += block.requested_bytes
    return dict(named.most_common())
