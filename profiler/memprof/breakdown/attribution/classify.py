"""What each allocation held: its category, its name, its module, decided once for its whole life.

An address that the process itself noted (a parameter, a gradient, what autograd saved) is known. What is left follows
from the code that asked for the block and from when it was freed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

from memprof.allocator import PREEXISTING, Allocation, Origin, Replay, Site
from memprof.breakdown.attribution.annotations import Annotations, Label, PhaseMarker, PhaseTimeline
from memprof.breakdown.explanation import Category
from memprof.records import Phase

_WORKSPACES = (Origin.CUBLAS, Origin.CUBLASLT, Origin.CUDNN, Origin.WORKSPACE)
# Where an address was noted as several things, the first of these is what it is: a parameter that autograd saves
# stays a parameter, and an output that it saves is an activation.
_STRENGTH = (
    Category.PARAMETERS,
    Category.BUFFERS,
    Category.OPTIMIZER_STATE,
    Category.GRADIENTS,
    Category.INPUT,
    Category.ACTIVATIONS,
    Category.OUTPUT,
)


@dataclass(frozen=True, slots=True)
class AllocationInfo:
    """What one allocation held, and where it was asked for."""

    category: Category
    name: str
    module: str | None
    mark: PhaseMarker
    site: Site


def find_holdings(replay: Replay, sites: Sequence[Site], notes: Annotations) -> list[AllocationInfo]:
    """Return what each allocation of `replay` held, in their order."""
    itinerary = notes.itinerary()
    labels = _labels_by_allocation(replay, notes.labels)
    judge = _Classifier(itinerary)
    holdings = []
    for index, allocation in enumerate(replay.allocations):
        site = sites[allocation.site]
        number = 0 if allocation.allocated_at == PREEXISTING else itinerary.number_at(allocation.allocated_at)
        mark, label = itinerary[number], labels.get(index)
        if label is not None:
            category, name, module = label.category, label.name or _made_by(label.category, site), label.module
        else:
            category, name = judge.decide(allocation, site, number)
            module = None
        holdings.append(AllocationInfo(category, name, mark.module if module is None else module, mark, site))
    return holdings


def names_module(name: str, module: str) -> bool:
    """Say whether a block's name has its module's path in it already, as ``gradient of layer1.weight`` does."""
    return f" {module}." in f" {name}."


def _labels_by_allocation(replay: Replay, labels: Sequence[Label]) -> dict[int, Label]:
    """Return the strongest label of each allocation that has one."""
    found: dict[int, Label] = {}
    alive = {a.address: index for index, a in enumerate(replay.allocations) if a.allocated_at == PREEXISTING}
    for label in _in_step(replay, alive, sorted(labels, key=attrgetter("position"))):
        index = alive.get(label.address)
        if index is not None and _is_stronger(label, found.get(index)):
            found[index] = label
    return found


def _in_step(replay: Replay, alive: dict[int, int], labels: Sequence[Label]) -> Iterator[Label]:
    """Yield each label while `alive` is what there was at its position."""
    waiting = iter(labels)
    label = next(waiting, None)
    for position, move in enumerate(replay.requests):
        while label is not None and label.position <= position:
            yield label
            label = next(waiting, None)
        if label is None:
            return
        if move >= 0:
            alive[replay.allocations[move].address] = move
        else:
            alive.pop(replay.allocations[~move].address, None)
    if label is not None:
        yield label
    yield from waiting


def _is_stronger(label: Label, other: Label | None) -> bool:
    return other is None or _STRENGTH.index(label.category) < _STRENGTH.index(other.category)


class _Classifier:
    """Decides what was not noted, by who asked for it, when, and how long it lived."""

    def __init__(self, itinerary: PhaseTimeline) -> None:
        self._itinerary = itinerary

    def decide(self, allocation: Allocation, site: Site, number: int) -> tuple[Category, str]:
        mark = self._itinerary[number]
        if site.origin in _WORKSPACES:
            return Category.WORKSPACE, _workspace_name(site)
        if site.in_backward or mark.phase is Phase.BACKWARD:
            return self._of_backward(allocation, site, number)
        if mark.phase in (Phase.FORWARD, Phase.LOSS):
            return self._of_forward(allocation, site, number)
        if _dies_by(allocation, self._itinerary.phase_ends[number]):
            return Category.TEMPORARY, _made_by(Category.TEMPORARY, site)
        backward = self._itinerary.backward_begins[number]
        if mark.phase is Phase.ZERO_GRAD and backward is not None and not _dies_by(allocation, backward):
            return Category.INPUT, _made_by(Category.INPUT, site)  # made between two steps, for the one that follows
        if mark.phase is not None and _dies_by(allocation, self._itinerary.step_ends[number]):
            return Category.TEMPORARY, _made_by(Category.TEMPORARY, site)
        return Category.UNKNOWN, _made_by(Category.UNKNOWN, site)

    def _of_forward(self, allocation: Allocation, site: Site, number: int) -> tuple[Category, str]:
        if allocation.freed_at is None and self._itinerary[number].step is None:  # nobody counts the steps
            return Category.UNKNOWN, f"kept by {_maker(site)}"
        backward = self._itinerary.backward_begins[number]
        if backward is not None and not _dies_by(allocation, backward):
            return Category.ACTIVATIONS, _made_by(Category.ACTIVATIONS, site)
        if backward is not None or _dies_by(allocation, self._itinerary.step_ends[number]):
            return Category.TEMPORARY, _made_by(Category.TEMPORARY, site)
        # The run may have ended within its forward pass, for want of memory: what is left is what would be kept.
        if self._itinerary.step_ends[number] is None:
            return Category.ACTIVATIONS, _made_by(Category.ACTIVATIONS, site)
        return Category.UNKNOWN, _made_by(Category.UNKNOWN, site)

    def _of_backward(self, allocation: Allocation, site: Site, number: int) -> tuple[Category, str]:
        mark = self._itinerary[number]
        if not _dies_by(allocation, self._itinerary.step_ends[number]):
            return Category.UNKNOWN, _made_by(Category.UNKNOWN, site)
        if _dies_by(allocation, self._itinerary.end_of(number)):
            return Category.TEMPORARY, _made_by(Category.TEMPORARY, site)
        if mark.recomputes:
            return Category.ACTIVATIONS, f"{_made_by(Category.ACTIVATIONS, site)}, recomputed"
        return Category.TEMPORARY, f"gradient from {site.node or site.operator or 'backward'}"


def _dies_by(allocation: Allocation, position: int | None) -> bool:
    """Whether it is gone when `position` is reached; None is the end, which only what was freed does not see."""
    if allocation.freed_at is None:
        return False
    return position is None or allocation.freed_at < position


def _workspace_name(site: Site) -> str:
    match site.origin:
        case Origin.CUBLAS:
            return "cuBLAS workspace"
        case Origin.CUBLASLT:
            return "cuBLASLt workspace"
        case Origin.CUDNN:
            return f"cuDNN workspace of {site.operator or 'an operator'}"
    return f"workspace of {site.operator or 'a kernel'}"


def _made_by(category: Category, site: Site) -> str:
    maker = _maker(site)
    match category:
        case Category.TEMPORARY:
            return f"temporary of {maker or 'an operator'}"
        case Category.UNKNOWN:
            return f"made by {maker}" if maker else "made before the history began"
    return f"{maker or 'tensor'} output"


def _maker(site: Site) -> str | None:
    return site.operator or site.node or site.function
