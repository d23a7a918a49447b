"""Classify each allocation once for its whole life: its category, its name, its module.

If the process annotated the address (a parameter, a gradient, what autograd saved), that decides. Otherwise the code
that allocated the block and the time at which it was freed decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

from memprof.allocator import PREEXISTING, Allocation, Origin, Replay, Site
from memprof.breakdown.attribution.annotations import Annotations, Label, PhaseMarker, PhaseTimeline
from memprof.breakdown.explanation import Category
from memprof.records import Phase

# The operator of ATen behind `tensor.float()`, `tensor.to(dtype)` and the casts of autocast.
CONVERSION = "to_dtype"
_WORKSPACES = (Origin.CUBLAS, Origin.CUBLASLT, Origin.CUDNN, Origin.WORKSPACE)
# If an address has several labels, the first of these categories counts: a parameter that autograd saves remains a
# parameter, and an output that it saves is an activation.
_PRIORITY = (
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
    """The use of one allocation, and the place in the run and the code at which it was made."""

    category: Category
    name: str
    module: str | None
    marker: PhaseMarker
    site: Site


def classify_allocations(replay: Replay, sites: Sequence[Site], annotations: Annotations) -> list[AllocationInfo]:
    """Return the info of each allocation of `replay`, in order."""
    timeline = annotations.phase_timeline()
    labels = _labels_by_allocation(replay, annotations.labels)
    classifier = _Classifier(timeline)
    infos = []
    for index, allocation in enumerate(replay.allocations):
        site = sites[allocation.site]
        at = 0 if allocation.allocated_at == PREEXISTING else timeline.index_at(allocation.allocated_at)
        marker, label = timeline[at], labels.get(index)
        if label is not None:
            category, name, module = label.category, label.name or _default_name(label.category, site), label.module
        else:
            category, name = classifier.classify(allocation, site, at)
            module = None
        infos.append(AllocationInfo(category, name, marker.module if module is None else module, marker, site))
    return infos


def names_module(name: str, module: str) -> bool:
    """Return whether a block's name contains the path of its module, as ``gradient of layer1.weight`` does."""
    return f" {module}." in f" {name}."


def _labels_by_allocation(replay: Replay, labels: Sequence[Label]) -> dict[int, Label]:
    """Return the label with the highest priority of each allocation that has one."""
    found: dict[int, Label] = {}
    alive = {a.address: index for index, a in enumerate(replay.allocations) if a.allocated_at == PREEXISTING}
    for label in _in_step(replay, alive, sorted(labels, key=attrgetter("position"))):
        index = alive.get(label.address)
        if index is not None and _has_priority(label, found.get(index)):
            found[index] = label
    return found


def _in_step(replay: Replay, alive: dict[int, int], labels: Sequence[Label]) -> Iterator[Label]:
    """Yield each label while `alive` has the allocations at its position, by address."""
    waiting = iter(labels)
    label = next(waiting, None)
    for position, request in enumerate(replay.requests):
        while label is not None and label.position <= position:
            yield label
            label = next(waiting, None)
        if label is None:
            return
        if request >= 0:
            alive[replay.allocations[request].address] = request
        else:
            alive.pop(replay.allocations[~request].address, None)
    if label is not None:
        yield label
    yield from waiting


def _has_priority(label: Label, other: Label | None) -> bool:
    return other is None or _PRIORITY.index(label.category) < _PRIORITY.index(other.category)


class _Classifier:
    """Classifies an allocation without a label by the code that made it, its phase, and how long it lived."""

    def __init__(self, timeline: PhaseTimeline) -> None:
        self._timeline = timeline

    def classify(self, allocation: Allocation, site: Site, index: int) -> tuple[Category, str]:
        """Return the category and the name of an allocation that was made at the marker `index`."""
        marker = self._timeline[index]
        if site.origin in _WORKSPACES:
            return Category.WORKSPACE, _workspace_name(site)
        if site.in_backward or marker.phase is Phase.BACKWARD:
            return self._of_backward(allocation, site, index)
        if marker.phase in (Phase.FORWARD, Phase.LOSS):
            return self._of_forward(allocation, site, index)
        if _is_freed_by(allocation, self._timeline.phase_ends[index]):
            return _with_default_name(Category.TEMPORARY, site)
        backward = self._timeline.backward_starts[index]
        if (
            marker.phase in (Phase.LOAD, Phase.ZERO_GRAD)
            and backward is not None
            and not _is_freed_by(allocation, backward)
        ):
            return _with_default_name(Category.INPUT, site)  # made between two steps, for the following one
        if marker.phase is not None and _is_freed_by(allocation, self._timeline.step_ends[index]):
            return _with_default_name(Category.TEMPORARY, site)
        return _with_default_name(Category.UNKNOWN, site)

    def _of_forward(self, allocation: Allocation, site: Site, index: int) -> tuple[Category, str]:
        if allocation.freed_at is None and self._timeline[index].step is None:  # the steps are unknown
            return Category.UNKNOWN, f"kept by {_allocating_code(site)}"
        backward = self._timeline.backward_starts[index]
        if backward is not None and not _is_freed_by(allocation, backward):
            return _with_default_name(Category.ACTIVATIONS, site)
        if backward is not None or _is_freed_by(allocation, self._timeline.step_ends[index]):
            return _with_default_name(Category.TEMPORARY, site)
        # If the run ran out of memory in its forward pass, the remaining blocks were to be kept for backward.
        if self._timeline.step_ends[index] is None:
            return _with_default_name(Category.ACTIVATIONS, site)
        return _with_default_name(Category.UNKNOWN, site)

    def _of_backward(self, allocation: Allocation, site: Site, index: int) -> tuple[Category, str]:
        if not _is_freed_by(allocation, self._timeline.step_ends[index]):
            return _with_default_name(Category.UNKNOWN, site)
        if _is_freed_by(allocation, self._timeline.end_of(index)):
            return _with_default_name(Category.TEMPORARY, site)
        if self._timeline[index].recomputes:
            return Category.ACTIVATIONS, f"{_default_name(Category.ACTIVATIONS, site)}, recomputed"
        return Category.TEMPORARY, f"gradient from {site.node or site.operator or 'backward'}"


def _is_freed_by(allocation: Allocation, position: int | None) -> bool:
    """Return whether the allocation is freed when `position` is reached; None is the end of the history."""
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


def _with_default_name(category: Category, site: Site) -> tuple[Category, str]:
    return category, _default_name(category, site)


def _default_name(category: Category, site: Site) -> str:
    code = _allocating_code(site)
    if site.operator == CONVERSION and category is not Category.UNKNOWN:
        return f"copy in another dtype ({CONVERSION})"
    match category:
        case Category.TEMPORARY:
            return f"temporary of {code or 'an operator'}"
        case Category.UNKNOWN:
            return f"allocated by {code}" if code else "allocated before the history began"
    return f"{code or 'tensor'} output"


def _allocating_code(site: Site) -> str | None:
    return site.operator or site.node or site.function
