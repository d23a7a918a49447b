"""Explain the peak of a run from the allocator's history and the run's annotations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from memprof.allocator import PREEXISTING, Instant, Replay, Trace, replay
from memprof.breakdown.attribution.annotations import Annotations
from memprof.breakdown.attribution.classify import CONVERSION, AllocationInfo, classify_allocations, names_module
from memprof.breakdown.attribution.modules import module_rows
from memprof.breakdown.attribution.peaks import (
    Interval,
    by_step,
    drawn_positions,
    find_other_peaks,
    phase_spans,
    split_into_intervals,
)
from memprof.breakdown.attribution.totals import ALLOCATED_PARTS, Totals, total_parts
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

_SMALLEST_CONVERSION = 0.01  # of the peak; smaller ones explain nothing
_MOST_CONVERSIONS = 3


@dataclass(frozen=True, kw_only=True)
class DeviceFigures:
    """The device's counters for the same run, which the history must agree with."""

    peak_allocated_bytes: int | None = None
    peak_reserved_bytes: int | None = None
    end_allocated_bytes: int | None = None  # if the peak counters did not start together with the history
    nvml_used_bytes: int | None = None
    context_bytes: int | None = None


def attribute(
    trace: Trace,
    annotations: Annotations,
    figures: DeviceFigures,
    segments: Sequence[Mapping[str, object]] = (),
    *,
    infer_backward: bool = False,
) -> Attribution:
    """Attribute each allocation of a run's history.

    If the history does not lead to the counters' figures, the difference is added to the part ``unknown``.

    Args:
        trace: the history of the run's device.
        annotations: what the process annotated while the history was recorded.
        figures: the counters' peaks and NVML's figures.
        segments: the allocator's segments when the history began.
        infer_backward: find the backward passes in the stacks, because the annotations do not mark them.
    """
    replayed = replay(trace, segments)
    if infer_backward:
        allocated_at = (
            (a.allocated_at, trace.sites[a.site].in_backward)
            for a in replayed.allocations
            if a.allocated_at != PREEXISTING
        )
        annotations = annotations.with_backward_passes(allocated_at)
    return Attribution(replayed, trace, annotations, figures)


class Attribution:
    """A run's history in which each allocation has a category and a name."""

    def __init__(self, replayed: Replay, trace: Trace, annotations: Annotations, figures: DeviceFigures) -> None:
        self._replay, self._trace, self._annotations, self._figures = replayed, trace, annotations, figures
        self._infos = classify_allocations(replayed, trace.sites, annotations)
        self._phase_timeline = annotations.phase_timeline()
        self._intervals = split_into_intervals(replayed, self._phase_timeline)
        self._peak, self._reserved_peak = replayed.peak, replayed.reserved_peak
        self._device = self._device_instant()
        self._other_peaks = find_other_peaks(self._intervals, self._peak.position)
        steps = by_step(self._intervals).items()
        self._step_peaks = [_highest(group) for step, group in steps if step and _is_step(group)]
        self._drawn = self._positions_of_peak_step()
        self._totals = self._total_parts()

    def names(self) -> Iterator[str]:
        """Yield the category and name of each allocation, in order: ``activations: conv2d output in layer1``."""
        for allocation, info in zip(self._replay.allocations, self._infos, strict=True):
            if allocation.allocated_at != PREEXISTING:
                is_named = not info.module or names_module(info.name, info.module)
                suffix = "" if is_named else f" in {info.module}"
                yield f"{info.category.value}: {info.name}{suffix}"

    def explanation(self) -> Explanation:
        """Return what the peak consists of."""
        blocks = self._blocks_at_peak()
        modules, outside = module_rows(blocks, self._annotations)
        figures, allocated = self._figures, self._parts_at(self._peak)
        allocated, missing = _with_missing(allocated, self._expected_peak())
        reserved, reserved_missing = _with_missing(self._reserved_parts(), figures.peak_reserved_bytes)
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
            named_parts=_named_parts(blocks),
            peak=self._peak_context(self._peak.position),
            other_peaks=tuple(self._peak_context(interval.peak_position) for interval in self._other_peaks),
            step_peaks=tuple(self._peak_context(interval.peak_position) for interval in self._step_peaks),
            blocks=blocks,
            modules=modules,
            outside_parts=outside,
            timeline=self._timeline(),
            event_count=len(self._trace),
            unknown_reason=_why_unknown(missing or reserved_missing),
            conversions=self._conversions(),
        )

    def phase_peaks(self) -> dict[Phase, int]:
        """Return the highest allocated bytes of each phase, over all steps, in the order of a step."""
        highest: dict[Phase, int] = {}
        for interval in self._intervals:
            if (phase := interval.marker.phase) is not None:
                highest[phase] = max(highest.get(phase, 0), interval.allocated_bytes)
        return {phase: highest[phase] for phase in Phase if phase in highest}

    def _expected_peak(self) -> int | None:
        """Return the counters' peak, or the history's, corrected by its difference from the counters at the end."""
        peak, end = self._figures.peak_allocated_bytes, self._figures.end_allocated_bytes
        if peak is not None or end is None:
            return peak
        return self._peak.allocated_bytes + end - self._replay.instant(len(self._replay.requests)).allocated_bytes

    def _total_parts(self) -> Totals:
        instants = (self._peak, self._reserved_peak, self._device)
        positions = {instant.position for instant in instants if instant is not None}
        positions.update(interval.peak_position for interval in (*self._other_peaks, *self._step_peaks))
        return total_parts(self._replay, self._infos, positions.union(self._drawn))

    def _parts_at(self, instant: Instant) -> Parts:
        return self._totals.at[instant.position]

    def _reserved_parts(self) -> Parts:
        instant = self._reserved_peak
        cached = self._replay.peak_reserved_bytes - instant.allocated_bytes
        return {**self._parts_at(instant), CACHED: cached}

    def _device_instant(self) -> Instant | None:
        """Return the point of NVML's figure, or the one with the most allocated bytes among equal reserved bytes."""
        position = self._annotations.device_position
        if position is None or self._figures.nvml_used_bytes is None:
            return None
        # Not the history's own figure: a failed request gives segments back, and no request follows it.
        fullest, reserved = self._reserved_peak, self._annotations.device_reserved_bytes
        return fullest if fullest.reserved_bytes == reserved else self._replay.instant(position)

    def _device_parts(self) -> Parts | None:
        instant, used, context = self._device, self._figures.nvml_used_bytes, self._figures.context_bytes
        reserved = self._annotations.device_reserved_bytes
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

    def _conversions(self) -> tuple[Block, ...]:
        """Return the largest copies in another dtype in the step of the peak, one for each place in the code."""
        group = self._step_of_peak()
        requests = self._replay.requests[group[0].start : group[-1].end] if group else ()
        made = (index for index in requests if index >= 0 and self._infos[index].site.operator == CONVERSION)
        largest: dict[tuple[str | None, str | None], Block] = {}
        for block in sorted(map(self._block, made), key=lambda block: -block.block_bytes):
            if block.block_bytes >= self._peak.allocated_bytes * _SMALLEST_CONVERSION:
                largest.setdefault((block.module, block.line), block)
        return tuple(largest.values())[:_MOST_CONVERSIONS]

    def _block(self, index: int) -> Block:
        allocation, info = self._replay.allocations[index], self._infos[index]
        return Block(
            category=info.category,
            name=info.name,
            requested_bytes=allocation.requested_bytes,
            block_bytes=allocation.block_bytes,
            module=info.module,
            operator=info.site.operator,
            step=info.marker.step,
            phase=_phase(info),
            line=info.site.line,
        )

    def _peak_context(self, position: int) -> PeakContext:
        parts = self._totals.at[position]
        index = self._replay.requests[position - 1] if position else -1
        info = self._infos[index] if index >= 0 else None
        marker = self._phase_timeline[self._phase_timeline.index_at(position - 1)]
        phase = _phase(info) if info else marker.phase
        return PeakContext(
            allocated_bytes=self._replay.instant(position).allocated_bytes,
            step=marker.step,
            phase=phase,
            module=marker.module,
            # The operator that loads a batch says nothing: it is a copy, or what stands for one.
            operator=None if info is None or phase is Phase.LOAD else info.site.operator or info.site.node,
            parts=parts,
        )

    def _step_of_peak(self) -> list[Interval]:
        groups = by_step(self._intervals)
        with_peak = (group for group in groups.values() if group[0].start < self._peak.position <= group[-1].end)
        return next(with_peak, [])

    def _positions_of_peak_step(self) -> list[int]:
        group = self._step_of_peak()
        return drawn_positions(self._replay, group[0].start, group[-1].end) if group else [self._peak.position]

    def _timeline(self) -> Timeline:
        group, positions = self._step_of_peak(), self._drawn
        start = positions[0]
        points = [self._totals.at[position] for position in positions]
        spans = [
            PhaseSpan(phase=phase, start=first - start, end=end - start) for phase, first, end in phase_spans(group)
        ]
        return Timeline(
            step=group[0].marker.step if group else None,
            positions=tuple(position - start for position in positions),
            series={name: tuple(parts[name] for parts in points) for name in ALLOCATED_PARTS},
            spans=tuple(spans),
            peak_position=self._peak.position - start,
        )


def _highest(group: Sequence[Interval]) -> Interval:
    return max(group, key=lambda interval: interval.allocated_bytes)


def _is_step(group: Sequence[Interval]) -> bool:
    """Return whether anything ran: after the last optimizer step a loop only frees memory."""
    return any(interval.marker.phase not in (None, Phase.LOAD, Phase.ZERO_GRAD) for interval in group)


def _phase(info: AllocationInfo) -> Phase | None:
    """Return the phase of an allocation; stacks show the backward pass before its first marker does."""
    return Phase.BACKWARD if info.site.in_backward else info.marker.phase


def _with_missing(parts: Parts, expected: int | None) -> tuple[Parts, int]:
    """Add what the counters have more than the history to the unknown part; also return that difference."""
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
