"""`track`: follow a training loop of this process, and show what its peak consists of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from memprof.api.results import TrackResult
from memprof.breakdown.explanation import TrackedPeak
from memprof.breakdown.snapshot import check_writable
from memprof.errors import ResultError
from memprof.records import Source
from memprof.report.assumed import STAR, context_star
from memprof.report.labels import gpu_label
from memprof.results.files import replace_file

if TYPE_CHECKING:
    import torch


class track:  # noqa: N801  it is called like a function
    """Follow your own training loop, and show what its peak consists of.

    ``with track(model, optimizer) as t: ...`` then ``print(t.explain())``, or ``t.report("peak.html")`` for a page. The
    loop runs unchanged, and allocates nothing more. Enter it before the first step: blocks that were allocated before,
    and belong to neither the model nor the optimizer, are reported as unknown. PyTorch keeps one history of its
    allocator: one that was recorded before ends.
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
        self._tracked: TrackedPeak | None = None

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

        explanation, phase_peaks = self._region.stop(self._snapshot)
        source = Source.MEASURED if unknown_workspaces() is None else Source.EMULATED
        gpu = torch.cuda.get_device_properties(self._device)
        self._tracked = TrackedPeak(
            explanation=explanation,
            phase_peaks=phase_peaks,
            model=None if self._model is None else type(self._model).__name__,
            optimizers=tuple(type(optimizer).__name__ for optimizer in self._optimizers),
            source=source,
            gpu=gpu_label(gpu.name, source),
            gpu_total_bytes=gpu.total_memory,
            torch_version=torch.__version__,
            context_is_assumed=context_star(gpu.name, source) == STAR,
        )

    @property
    def peak(self) -> int:
        """The highest allocated bytes of the region, as `torch.cuda.max_memory_allocated` counts them.

        Raises:
            RuntimeError: the region has not ended.
        """
        return self._ended("peak").explanation.peak_allocated_bytes

    @property
    def phases(self) -> dict[str, int]:
        """The highest allocated bytes of each phase, over all steps: forward, loss, backward, optimizer and so on.

        Raises:
            RuntimeError: the region has not ended.
        """
        return {phase.value: peak for phase, peak in self._ended("phases").phase_peaks.items()}

    def explain(self) -> TrackResult:
        """Return what the peak of the region consists of.

        Raises:
            RuntimeError: the region has not ended.
        """
        return TrackResult(tracked=self._ended("explain()"))

    def report(self, file: str | Path) -> Path:
        """Write one HTML page about the peak, with its timeline, to `file`, and return its path.

        A file that exists is replaced. The page makes no network request.

        Raises:
            RuntimeError: the region has not ended.
            ResultError: the file cannot be written.
        """
        from memprof.report.page import tracked_to_html

        tracked, path = self._ended("report()"), Path(file)
        try:
            replace_file(path, tracked_to_html(tracked))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ResultError(f"report {path}: cannot be written: {reason}") from None
        return path

    def _ended(self, wanted: str) -> TrackedPeak:
        if self._tracked is None:
            raise RuntimeError(f"the tracked region has not ended: use {wanted} after the with block")
        return self._tracked


def _maybe(value: Any) -> tuple[Any, ...]:
    return () if value is None else (value,)
