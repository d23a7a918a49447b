"""The annotations that a process makes while its history is recorded: the running phase, and the use of addresses.

A position in the history is the number of allocations and frees before it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import attrgetter

from memprof.breakdown.explanation import Category
from memprof.records import Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseMarker:
    """The program runs this step, phase and module from `position` until the next marker."""

    position: int
    step: int | None = None  # from 1 on; None before the first and between two steps
    phase: Phase | None = None
    module: str | None = None  # the module whose forward runs, or whose node of the backward pass
    recomputes: bool = False  # a forward pass within a backward pass: activation checkpointing


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """The use of the block that is at `address` when the history is at `position`."""

    position: int
    address: int
    category: Category
    name: str | None = None  # None: named after the code that allocated it
    module: str | None = None  # None: the module that ran when it was allocated


@dataclass(frozen=True, kw_only=True)
class ModuleInfo:
    """A registered submodule."""

    path: str
    type: str
    parameters: int  # the number of elements


@dataclass(kw_only=True)
class Annotations:
    """The annotations of one run, in chronological order."""

    markers: list[PhaseMarker] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    modules: list[ModuleInfo] = field(default_factory=list)
    output_shapes: dict[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)  # by the module's path
    device_position: int | None = None  # at which NVML reported `nvml_used_bytes`
    device_reserved_bytes: int | None = None  # the allocator's counter at that position

    def phase_timeline(self) -> PhaseTimeline:
        """Return the markers as a timeline, for looking up positions."""
        return PhaseTimeline(self.markers)

    def with_backward_passes(self, positions: Iterable[tuple[int, bool]]) -> Annotations:
        """Return annotations with markers for the start and end of each backward pass, which a user's loop lacks.

        `positions` are those of the allocations in order, each with whether a backward pass allocated it.
        """
        timeline, markers = self.phase_timeline(), list(self.markers)
        is_backward = False
        for position, in_backward in positions:
            marker = timeline[timeline.index_at(position)]
            if marker.phase is Phase.BACKWARD:
                is_backward = True
            elif in_backward != is_backward:
                is_backward = in_backward
                phase = Phase.BACKWARD if in_backward else marker.phase
                markers.append(replace(marker, position=position, phase=phase))
        return replace(self, markers=sorted(markers, key=attrgetter("position")))


class PhaseTimeline:
    """The step, phase and module that ran at each position."""

    def __init__(self, markers: Sequence[PhaseMarker]) -> None:
        self._markers = [PhaseMarker(position=-1), *markers]
        self._positions = [marker.position for marker in self._markers]

    def index_at(self, position: int) -> int:
        """Return the index of the last marker at or before `position`."""
        return bisect_right(self._positions, position) - 1

    def __getitem__(self, index: int) -> PhaseMarker:
        return self._markers[index]

    def __len__(self) -> int:
        return len(self._markers)

    def end_of(self, index: int) -> int | None:
        """Return the position of the next marker with another position; None for the last."""
        following = index + 1
        while following < len(self._markers) and self._positions[following] == self._positions[index]:
            following += 1
        return self._positions[following] if following < len(self._markers) else None

    @cached_property
    def phase_ends(self) -> list[int | None]:
        """For each marker, the position at which its phase ends; None if the annotations end first."""
        return self._ends(lambda marker: (marker.step, marker.phase))

    @cached_property
    def step_ends(self) -> list[int | None]:
        """For each marker, the position at which its step ends; None if the annotations end first."""
        return self._ends(lambda marker: marker.step)

    @cached_property
    def backward_starts(self) -> list[int | None]:
        """For each marker, the position at which the next backward pass of its step starts; None if there is none."""
        starts: list[int | None] = [None] * len(self._markers)
        start: int | None = None
        following: PhaseMarker | None = None
        for index in range(len(self._markers) - 1, -1, -1):
            marker = self._markers[index]
            if following is not None and following.step != marker.step:
                start = None
            if marker.phase is Phase.BACKWARD:
                start = marker.position
            else:
                starts[index] = start
            following = marker
        return starts

    def _ends(self, key: Callable[[PhaseMarker], object]) -> list[int | None]:
        ends: list[int | None] = [None] * len(self._markers)
        for index in range(len(self._markers) - 2, -1, -1):
            following = self._markers[index + 1]
            same = key(following) == key(self._markers[index])
            ends[index] = ends[index + 1] if same else following.position
        return ends
