"""Build the history and the annotations of a run by hand."""

from __future__ import annotations

from typing import Any

from memprof.allocator import Action, Event, Trace
from memprof.breakdown.attribution import (
    Annotations,
    Attribution,
    DeviceFigures,
    Label,
    ModuleInfo,
    PhaseMarker,
    attribute,
)
from memprof.breakdown.explanation import Category, Explanation
from memprof.records import Phase
from memprof.units import GIB, MIB

STACKS = {
    "tensor": ("at::detail::empty_cuda()", "at::_ops::addmm::call()"),
    "cast": ("at::detail::empty_cuda()", "at::_ops::to_dtype::call()"),
    "cublas": ("at::cuda::getNewWorkspace()", "at::_ops::mm::call()"),
    "cublaslt": ("at::cuda::CUDABlasLtWorkspace()", "at::_ops::addmm::call()"),
    "cudnn": ("at::native::run_cudnn_plan()", "at::_ops::conv2d::call()"),
    "scratch": ("at::native::sort_scratch()", "at::_ops::sort::call()"),
    "backward": (
        "at::detail::empty_cuda()",
        "at::_ops::mm::call()",
        "torch::autograd::generated::MmBackward0::apply(",
        "torch::autograd::Engine::call()",
    ),
}
# As in PyTorch, a frame is the same dictionary in every event: a trace distinguishes frames by identity.
FRAMES = {stack: [{"name": name, "filename": "lib.so", "line": 0} for name in names] for stack, names in STACKS.items()}


class HistoryBuilder:
    """Allocates in one large segment, at addresses that are 2 MiB apart, or at an address that is given."""

    def __init__(self, *modules: str) -> None:
        self.trace, self.annotations, self.requests = Trace(), Annotations(), 0
        self.annotations.modules.extend(ModuleInfo(path=path, type="Linear", parameters=1) for path in modules)
        self.trace.append(Event(Action.SEGMENT_ALLOC, 0, 64 * GIB, -1))
        self._next_address = 0
        self._sizes: dict[int, int] = {}

    def enter(
        self, step: int | None, phase: Phase | None, module: str | None = None, *, recomputes: bool = False
    ) -> None:
        marker = PhaseMarker(position=self.requests, step=step, phase=phase, module=module, recomputes=recomputes)
        self.annotations.markers.append(marker)

    def allocate(self, size: int, stack: str | None = "tensor", address: int | None = None) -> int:
        """Allocate, at `address` if it is given, and return the address."""
        if address is None:
            address, self._next_address = self._next_address, self._next_address + 2 * MIB
        frames = FRAMES[stack] if stack else None
        self.trace.append(Event(Action.ALLOC, address, size, self.trace.sites.index_of(frames)))
        self._sizes[address] = size
        self.requests += 1
        return address

    def free(self, *addresses: int) -> None:
        for address in addresses:
            for action in (Action.FREE_REQUESTED, Action.FREE_COMPLETED):
                self.trace.append(Event(action, address, self._sizes[address], -1))
            self.requests += 1

    def label(self, address: int, category: Category, name: str | None = None, module: str | None = None) -> None:
        label = Label(position=self.requests, address=address, category=category, name=name, module=module)
        self.annotations.labels.append(label)

    def attribution(self, **figures: Any) -> Attribution:
        return attribute(self.trace, self.annotations, DeviceFigures(**figures))

    def explained(self, **figures: Any) -> Explanation:
        return self.attribution(**figures).explanation()

    def names(self) -> list[str]:
        """Return the category and name of each allocation, in order."""
        return list(self.attribution().names())
