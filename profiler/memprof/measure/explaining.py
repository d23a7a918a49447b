"""Measure one point while recording the allocator's history and annotations, which explain its peak."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from memprof.breakdown.attribution import DeviceFigures, attribute
from memprof.breakdown.explanation import Category, Explanation
from memprof.config.schema import Mode, OptimizerConfig, SweepConfig
from memprof.measure.allocator_history import History, write_snapshot
from memprof.measure.recorder import Listener
from memprof.measure.run import OnStep, measure
from memprof.measure.tracker import Tracker
from memprof.records import Outcome, Phase, Reading
from memprof.workload import Batch


def measure_and_explain(
    model: torch.nn.Module,
    config: SweepConfig,
    optimizer: OptimizerConfig | None,
    batch_size: int,
    device: torch.device,
    snapshot_file: Path | None = None,
    folder: Path = Path(),
    on_step: OnStep | None = None,
) -> tuple[Outcome, Explanation | None]:
    """Run the steps as `measure` does, and explain their peak; ``None`` if nothing was read.

    With `snapshot_file`, a snapshot of the allocator with named blocks is written there.

    Raises:
        WorkloadError: the allocator backend records no history.
        OSError: the snapshot cannot be written.
    """
    history = History(device, whole=snapshot_file is not None)
    listener = _Tracking(model, config, history)
    outcome = measure(model, config, optimizer, batch_size, device, listener, folder, on_step)
    if outcome.reading is None or not listener.is_ready:
        return outcome, None
    gc.disable()  # the run has ended; the rest creates many objects and no cycles
    snapshot = history.stop()
    listener.tracker.close()
    figures = _figures(outcome.reading)
    attribution = attribute(history.trace, listener.tracker.annotations, figures, history.segments)
    if snapshot_file is not None:
        write_snapshot(snapshot, history.index, attribution.names(), snapshot_file)
    return outcome, attribution.explanation()


def _figures(reading: Reading) -> DeviceFigures:
    return DeviceFigures(
        peak_allocated_bytes=reading.peak_allocated_bytes,
        peak_reserved_bytes=reading.peak_reserved_bytes,
        nvml_used_bytes=reading.nvml_used_bytes,
        context_bytes=reading.context_bytes,
    )


def _inputs_of(batch: Batch) -> dict[str, tuple[Any, None]]:
    """Return the tensors of the batch by the names that the blocks get."""
    named = {"input": batch.inputs, **batch.keywords, "target": batch.target}
    return {name: (tree_leaves(tensors), None) for name, tensors in named.items()}


class _Tracking(Listener):
    """Records the history and the annotations of the run that it listens to."""

    def __init__(self, model: torch.nn.Module, config: SweepConfig, history: History) -> None:
        self.tracker = Tracker(model, history)
        self.is_ready = False
        self._config, self._history = config, history
        self._saving = ExitStack()
        self._optimizers: Sequence[torch.optim.Optimizer] = ()

    def setup_started(self) -> None:
        # Compiling runs the model once, and its peak does not count: then the history starts after it.
        if not self._config.compile:
            self._history.start()

    def setup_finished(self, step: Any) -> None:
        if self._config.compile:
            self._history.start()
        else:
            self.tracker.wrap_modules()
        self.tracker.label_model()
        if (average := getattr(getattr(step, "after_step", None), "ema", None)) is not None:
            self.tracker.label_copy(average.module, "moving average of")
        if step.loader.is_resident:
            self.batch_loaded(step.loader.current)
        self._optimizers = step.optimizer.parts if step.optimizer is not None else ()
        self.tracker.watch_optimizers(self._optimizers)
        self.is_ready = True

    def phase_started(self, step: int | None, phase: Phase) -> None:
        self.tracker.enter_phase(step, phase)
        trains = self._config.mode is Mode.TRAIN
        if trains and phase in (Phase.FORWARD, Phase.LOSS, Phase.PIPELINE) and not self._config.compile:
            self._saving.enter_context(self.tracker.saving())

    def phase_finished(self, step: int | None, phase: Phase) -> None:
        del step
        self._saving.close()
        if phase in (Phase.BACKWARD, Phase.PIPELINE):
            self.tracker.label_gradients()

    def device_peak_read(self) -> None:
        self.tracker.record_device_usage()

    def batch_loaded(self, batch: Batch) -> None:
        self.tracker.label(Category.INPUT, _inputs_of(batch))

    def checkpoint_loaded(self) -> None:
        for optimizer in self._optimizers:
            self.tracker.label_state(optimizer)

    def outputs_kept(self, name: str, tensors: Any) -> None:
        self.tracker.label(Category.OUTPUT, {name: (tensors, None)})
