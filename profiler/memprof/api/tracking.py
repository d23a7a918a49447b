"""`track`: follow a training loop of this process, and show what its peak consists of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from memprof.api.results import TrackResult
from memprof.breakdown.snapshot import check_writable
from memprof.records import Source
from memprof.report.labels import gpu_label

if TYPE_CHECKING:
    import torch


class track:  # noqa: N801  it is called like a function
    """Follow your own training loop, and show what its peak consists of.

    ``with track(model, optimizer) as t: ...`` then ``print(t.explain())``. The loop runs unchanged, and allocates
    nothing more. Enter it before the first step: blocks that were allocated before, and belong to neither the model nor
    the optimizer, are reported as unknown. PyTorch keeps one history of its allocator: one that was recorded before
    ends.
    """

    def __init__(
        self,
        model: torch.nn.Module | None = None,
        optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer] | None = None,
        *,
        snapshot: str | Path | None = None,
    ) -> None:
        """Prepare to follow a loop.

        Args:
            model: a model on the GPU; ``None`` for code without one.
            optimizer: one, several, or none.
            snapshot: where to write a snapshot for pytorch.org/memory_viz.
        """
        self._model = model
        self._optimizers = tuple(optimizer) if isinstance(optimizer, Sequence) else _maybe(optimizer)
        self._snapshot = None if snapshot is None else Path(snapshot)
        self._answer: TrackResult | None = None

    def __enter__(self) -> Self:
        """Record the allocator's history from here on."""
        from memprof.measure.track import TrackedRegion, device_of

        if self._snapshot is not None:
            check_writable(self._snapshot)
        self._device = device_of(self._model)
        self._region = TrackedRegion(self._model, self._optimizers, self._device, whole=self._snapshot is not None)
        self._region.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop recording, and attribute the peak."""
        import torch

        from memprof.gpus.phantom.runtime import unknown_workspaces

        explanation = self._region.stop(self._snapshot)
        source = Source.MEASURED if unknown_workspaces() is None else Source.EMULATED
        gpu = gpu_label(torch.cuda.get_device_name(self._device), source)
        named = [type(self._model).__name__] if self._model is not None else []
        self._answer = TrackResult(
            explanation=explanation,
            title=" · ".join([*named, *(type(o).__name__ for o in self._optimizers), gpu, source.value]),
            source=source,
        )

    def explain(self) -> TrackResult:
        """Return what the peak of the region consists of.

        Raises:
            RuntimeError: the region has not ended.
        """
        if self._answer is None:
            raise RuntimeError("the tracked region has not ended: call explain() after the with block")
        return self._answer


def _maybe(value: Any) -> tuple[Any, ...]:
    return () if value is None else (value,)
