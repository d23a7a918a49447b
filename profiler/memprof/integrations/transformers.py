"""Log GPU memory through the Trainer of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from memprof.integrations.out_of_memory import OutOfMemoryReports
from memprof.integrations.peaks import PeakMetrics, Phase


class MemoryCallback(TrainerCallback):
    """Logs peaks of GPU memory whenever the Trainer logs, to each logger in `report_to`.

    ``trainer.add_callback(MemoryCallback(trainer))``. The Trainer does not pass itself to its callbacks, and only the
    Trainer can log. The keys are ``memory/peak_allocated``, ``memory/peak_reserved``, ``memory/device`` and
    ``memory/peak_`` with ``forward``, ``backward``, ``optimizer``, ``evaluation`` and ``other``; the values are bytes.
    """

    def __init__(self, trainer: Trainer, *, out_of_memory: bool = True) -> None:
        """Prepare to log.

        Args:
            trainer: the Trainer that gets this callback.
            out_of_memory: if memory runs out, write a snapshot and its explanation into the Trainer's `output_dir`.
        """
        self._trainer = trainer
        self._metrics = PeakMetrics()
        self._reports = OutOfMemoryReports(Path(trainer.args.output_dir or ".")) if out_of_memory else None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start to read the counters."""
        del args, state, control
        model: nn.Module = kwargs["model"]
        self._metrics.start(model)
        self._metrics.watch(model)
        if self._reports:
            self._reports.start()

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Enter the phase of the optimizer."""
        del args, state, control, kwargs
        self._metrics.enter(Phase.OPTIMIZER)

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Leave the phase of the optimizer."""
        del args, state, control, kwargs
        self._metrics.enter(Phase.OTHER)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Log the peaks since the last time, if the Trainer logs at this step."""
        del args, state, kwargs
        if control.should_log and (metrics := self._metrics.read()):
            self._trainer.log(dict(metrics))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Stop reading the counters."""
        del args, state, control, kwargs
        self._metrics.close()
        if self._reports:
            self._reports.stop()
