"""What a process notes while its history is kept: where it stands, and which address holds what.

Positions are those of the history: how many allocations and frees came before.
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
    """From `position` on the program is here, until the next mark."""

    position: int
    step: int | None = None  # from 1 on; None before the first and between two
    phase: Phase | None = None
    module: str | None = None  # whose forward runs, or whose node of the backward pass does
    recomputes: bool = False  # a forward within a backward pass: activation checkpointing


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """At `position`, the block at `address` holds this."""

    position: int
    address: int
    category: Category
    name: str | None = None  # None: by the code that asked for it
    module: str | None = None  # None: the one that ran when it was asked for


@dataclass(frozen=True, kw_only=True)
class ModuleNote:
    """A submodule as it is registered."""

    path: str
    type: str
    parameters: int


@dataclass(kw_only=True)
class Annotations:
    """The notes of one run, in the order in which they were made."""

    marks: list[PhaseMarker] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    modules: list[ModuleNote] = field(default_factory=list)
    output_shapes: dict[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)  # by the module's path
    device_position: int | None = None  # when NVML said what `nvml_used_bytes` is
    device_reserved_bytes: int | None = None  # by the allocator's counter at that moment

    def itinerary(self) -> PhaseTimeline:
        """Return the marks as places to look positions up in."""
        return PhaseTimeline(self.marks)

    def with_backward_passes(self, positions: Iterable[tuple[int, bool]]) -> Annotations:
        """Return notes whose marks also say where a backward pass begins and ends, for a loop that did not.

        `positions` are those of the allocations in order, each with whether a backward pass asked for it.
        """
        places, marks = self.itinerary(), list(self.marks)
        backward = False
        for position, within in positions:
            place = places[places.number_at(position)]
            if place.phase is Phase.BACKWARD:
                backward = True
            elif within != backward:
                backward = within
                marks.append(replace(place, position=position, phase=Phase.BACKWARD if within else place.phase))
        return replace(self, marks=sorted(marks, key=attrgetter("position")))


class PhaseTimeline:
    """Where the program was at each position."""

    def __init__(self, marks: Sequence[PhaseMarker]) -> None:
        self._marks = [PhaseMarker(position=-1), *marks]
        self._positions = [mark.position for mark in self._marks]

    def number_at(self, position: int) -> int:
        """Return the number of the mark under which move `position` was made."""
        return bisect_right(self._positions, position) - 1

    def __getitem__(self, number: int) -> PhaseMarker:
        return self._marks[number]

    def __len__(self) -> int:
        return len(self._marks)

    def end_of(self, number: int) -> int | None:
        """Return the position at which a mark gives way to one that is elsewhere; None for the last."""
        following = number + 1
        while following < len(self._marks) and self._positions[following] == self._positions[number]:
            following += 1
        return self._positions[following] if following < len(self._marks) else None

    @cached_property
    def phase_ends(self) -> list[int | None]:
        """For each mark, the position at which its step's phase ends; None where the notes end first."""
        return self._ends(lambda mark: (mark.step, mark.phase))

    @cached_property
    def step_ends(self) -> list[int | None]:
        """For each mark, the position at which its step ends; None where the notes end first."""
        return self._ends(lambda mark: mark.step)

    @cached_property
    def backward_begins(self) -> list[int | None]:
        """For each mark, the position at which the next backward pass of its step begins; None if there is none."""
        begins: list[int | None] = [None] * len(self._marks)
        begin: int | None = None
        following: PhaseMarker | None = None
        for number in range(len(self._marks) - 1, -1, -1):
            mark = self._marks[number]
            if following is not None and following.step != mark.step:
                begin = None
            if mark.phase is Phase.BACKWARD:
                begin = mark.position
            else:
                begins[number] = begin
            following = mark
        return begins

    def _ends(self, key: Callable[[PhaseMarker], object]) -> list[int | None]:
        ends: list[int | None] = [None] * len(self._marks)
        for number in range(len(self._marks) - 2, -1, -1):
            following = self._marks[number + 1]
            same = key(following) == key(self._marks[number])
            ends[number] = ends[number + 1] if same else following.position
        return ends
