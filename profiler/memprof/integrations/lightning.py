"""Log GPU memory through the loggers of Lightning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from memprof.integrations.out_of_memory import OutOfMemoryReports
from memprof.integrations.peaks import PeakMetrics, Phase


class MemoryCallback(Callback):
    """Logs peaks of GPU memory every `log_every_n_steps` of the Trainer, to each of its loggers.

    ``Trainer(callbacks=[MemoryCallback()])``. The keys are ``memory/peak_allocated``, ``memory/peak_reserved``,
    ``memory/device`` and ``memory/peak_`` with ``forward``, ``backward``, ``optimizer``, ``evaluation`` and ``other``;
    the values are bytes.
    """

    def __init__(self, *, out_of_memory: bool = True) -> None:
        """Prepare to log.

        Args:
            out_of_memory: if memory runs out, write a snapshot and its explanation into the Trainer's log folder.
        """
        self._metrics = PeakMetrics()
        self._wants_reports = out_of_memory
        self._reports: OutOfMemoryReports | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start to read the counters."""
        self._metrics.start(pl_module)
        if self._wants_reports:
            self._reports = OutOfMemoryReports(Path(trainer.log_dir or trainer.default_root_dir))
            self._reports.start()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Enter the forward pass."""
        del trainer, pl_module, batch, batch_idx
        self._metrics.enter(Phase.FORWARD)

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: torch.Tensor) -> None:
        """Enter the backward pass."""
        del trainer, pl_module, loss
        self._metrics.enter(Phase.BACKWARD)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Enter the phase of the optimizer."""
        del trainer, pl_module, optimizer
        self._metrics.enter(Phase.OPTIMIZER)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log the peaks since the last time, if the Trainer logs at this step."""
        del pl_module, outputs, batch, batch_idx
        self._metrics.enter(Phase.OTHER)
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined, unused-ignore]
        if trainer.global_step % every == 0 and (metrics := self._metrics.read()):
            for logger in trainer.loggers:
                logger.log_metrics(dict(metrics), step=trainer.global_step)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Enter the phase of evaluation."""
        del trainer, pl_module
        self._metrics.enter(Phase.EVALUATION)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the phase of evaluation."""
        del trainer, pl_module
        self._metrics.enter(Phase.OTHER)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Stop reading the counters."""
        del trainer, pl_module, stage
        self._metrics.close()
        if self._reports:
            self._reports.stop()
