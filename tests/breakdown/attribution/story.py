"""A run told by hand: what was allocated, where the program stood, which address held what."""

from __future__ import annotations

from typing import Any

from memprof.allocator import Action, Event, Trace
from memprof.breakdown.attribution import (
    Account,
    Annotations,
    DeviceFigures,
    Label,
    ModuleNote,
    PhaseMarker,
    account_for,
)
from memprof.breakdown.explanation import Category, Explanation
from memprof.records import Phase
from memprof.units import GIB, MIB

STACKS = {
    "tensor": ("at::detail::empty_cuda()", "at::_ops::addmm::call()"),
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
# A frame is the same dictionary in every event, and stays, as PyTorch's do: a trace tells them apart by identity.
FRAMES = {stack: [{"name": name, "filename": "lib.so", "line": 0} for name in names] for stack, names in STACKS.items()}


class Story:
    """Addresses are given one after the other, 2 MiB apart, in one large segment; those in `again` are used again."""

    def __init__(self, *modules: str) -> None:
        self.trace, self.notes, self.requests = Trace(), Annotations(), 0
        self.notes.modules.extend(ModuleNote(path=path, type="Linear", parameters=1) for path in modules)
        self.trace.append(Event(Action.SEGMENT_ALLOC, 0, 64 * GIB, -1))
        self._next = 0
        self._sizes: dict[int, int] = {}

    def at(self, step: int | None, phase: Phase | None, module: str | None = None, *, recomputes: bool = False) -> None:
        mark = PhaseMarker(position=self.requests, step=step, phase=phase, module=module, recomputes=recomputes)
        self.notes.marks.append(mark)

    def take(self, size: int, stack: str | None = "tensor", again: int | None = None) -> int:
        """Allocate, at the address `again` if it is given, and return the address."""
        if again is None:
            again, self._next = self._next, self._next + 2 * MIB
        frames = FRAMES[stack] if stack else None
        self.trace.append(Event(Action.ALLOC, again, size, self.trace.sites.index_of(frames)))
        self._sizes[again] = size
        self.requests += 1
        return again

    def free(self, *addresses: int) -> None:
        for address in addresses:
            for action in (Action.FREE_REQUESTED, Action.FREE_COMPLETED):
                self.trace.append(Event(action, address, self._sizes[address], -1))
            self.requests += 1

    def label(self, address: int, category: Category, name: str | None = None, module: str | None = None) -> None:
        label = Label(position=self.requests, address=address, category=category, name=name, module=module)
        self.notes.labels.append(label)

    def account(self, **figures: Any) -> Account:
        return account_for(self.trace, self.notes, DeviceFigures(**figures))

    def explained(self, **figures: Any) -> Explanation:
        return self.account(**figures).explanation()

    def names(self) -> list[str]:
        """What each allocation held, in order."""
        return list(self.account().names())
