"""Record the allocator requests of a run in order, so that the run can be simulated at other batch sizes."""

from __future__ import annotations

from collections.abc import Sequence

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

    def read(self, *, out_of_memory: bool = False) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """Return the requests in the form of `memprof.allocator.simulator.simulate`, and the indices of the refused.

        ``None`` if they cannot be simulated, because the allocator's settings are not PyTorch's defaults. Of a run
        `out_of_memory`, the last request is the one that failed.
        """
        if self._history is None:
            return None
        settings = self._history.stop()["allocator_settings"]
        trace = self._history.trace
        if trace.rules.expandable_segments or trace.rules.max_split_bytes is not None:
            return None
        if settings.get("garbage_collection_threshold"):
            return None
        return _requests_of(list(trace.rows()), out_of_memory)


def _requests_of(
    rows: Sequence[tuple[int, int, int, int]], out_of_memory: bool
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    failures = [position for position, (action, *_) in enumerate(rows) if action == Action.OOM]
    failed_at = failures[-1] if out_of_memory and failures else None
    requests: list[int] = []
    refused: list[int] = []
    indices: dict[int, int] = {}  # of the allocations alive, by address
    count = 0
    for action, address, size, _ in rows[:failed_at]:
        if action == Action.ALLOC:
            requests.append(size)
            indices[address], count = count, count + 1
        elif action == Action.OOM:  # cuDNN's next plan has a smaller workspace
            requests += [size, ~count]
            refused.append(count)
            count += 1
        elif action == Action.FREE_COMPLETED and address in indices:
            requests.append(~indices.pop(address))
    if failed_at is not None:
        requests.append(rows[failed_at][2])
    return tuple(requests), tuple(refused)
