"""What a run asked of the allocator, in order: enough to act the run out again at another batch size."""

from __future__ import annotations

import torch

from memprof.allocator import Action
from memprof.measure.allocator_history import History
from memprof.measure.recorder import Listener


class RequestLog(Listener):
    """Keeps the requests and frees of the run that it listens to; without stacks, which costs next to nothing."""

    def __init__(self, device: torch.device) -> None:
        native = torch.cuda.get_allocator_backend() == "native"
        self._history = History(device, stacks=False) if native else None

    def setup_begins(self) -> None:
        if self._history is not None:
            self._history.start()

    def read(self) -> tuple[int, ...] | None:
        """Return the requests as `memprof.allocator.simulator.simulate` takes them.

        ``None`` where it cannot act them out: under other settings of the allocator than PyTorch's own.
        """
        if self._history is None:
            return None
        settings = self._history.stop()["allocator_settings"]
        trace = self._history.trace
        if trace.rules.expandable_segments or trace.rules.max_split_bytes is not None:
            return None
        if settings.get("garbage_collection_threshold"):
            return None
        places: dict[int, int] = {}
        requests: list[int] = []
        allocations = 0
        for action, address, size, _ in trace.rows():
            if action == Action.ALLOC:
                places[address], allocations = allocations, allocations + 1
                requests.append(size)
            elif action == Action.FREE_COMPLETED and address in places:
                requests.append(~places.pop(address))
        return tuple(requests)
