"""Record the allocator requests of a run in order, so that the run can be simulated at other batch sizes."""

from __future__ import annotations

import torch

from memprof.allocator import Action
from memprof.measure.allocator_history import History
from memprof.measure.recorder import Listener


class RequestLog(Listener):
    """Records the requests and frees of the run that it listens to, without stacks, which is cheap."""

    def __init__(self, device: torch.device) -> None:
        native = torch.cuda.get_allocator_backend() == "native"
        self._history = History(device, stacks=False) if native else None

    def setup_started(self) -> None:
        if self._history is not None:
            self._history.start()

    def read(self) -> tuple[int, ...] | None:
        """Return the requests in the form of `memprof.allocator.simulator.simulate`.

        ``None`` if they cannot be simulated, because the allocator's settings are not PyTorch's defaults.
        """
        if self._history is None:
            return None
        settings = self._history.stop()["allocator_settings"]
        trace = self._history.trace
        if trace.rules.expandable_segments or trace.rules.max_split_bytes is not None:
            return None
        if settings.get("garbage_collection_threshold"):
            return None
        indices: dict[int, int] = {}
        requests: list[int] = []
        allocations = 0
        for action, address, size, _ in trace.rows():
            if action == Action.ALLOC:
                indices[address], allocations = allocations, allocations + 1
                requests.append(size)
            elif action == Action.FREE_COMPLETED and address in indices:
                requests.append(~indices.pop(address))
        return tuple(requests)
