"""Log GPU memory through the trackers of accelerate."""

from __future__ import annotations

from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn

from memprof.integrations.out_of_memory import OutOfMemoryReports
from memprof.integrations.peaks import PeakMetrics


class MemoryCallback:
    """Logs peaks of GPU memory after every `every` optimizer steps, to each tracker of the accelerator.

    Make it after ``accelerator.prepare`` and ``accelerator.init_trackers``, and keep it: it logs by itself until
    `close`. The keys are ``memory/peak_allocated``, ``memory/peak_reserved``, ``memory/device`` and ``memory/peak_``
    with ``forward``, ``backward``, ``optimizer``, ``evaluation`` and ``other``; the values are bytes.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        every: int = 10,
        out_of_memory: bool = True,
    ) -> None:
        """Start to log.

        Args:
            accelerator: whose trackers get the figures.
            model: what `accelerator.prepare` returned.
            optimizer: what `accelerator.prepare` returned.
            every: optimizer steps between two entries.
            out_of_memory: if memory runs out, write a snapshot and its explanation into the accelerator's
                `project_dir`, or else the current folder.

        Raises:
            ValueError: `every` is not positive.
        """
        if every < 1:
            raise ValueError(f"every={every}: must be at least 1")
        self._accelerator, self._every, self._steps = accelerator, every, 0
        inner: torch.optim.Optimizer = getattr(optimizer, "optimizer", optimizer)  # accelerate wraps it
        self._metrics = PeakMetrics()
        self._metrics.start(model)
        self._metrics.watch(model, [inner])
        self._stepped = inner.register_step_post_hook(self._log)
        self._reports = OutOfMemoryReports(Path(accelerator.project_dir or ".")) if out_of_memory else None
        if self._reports:
            self._reports.start()

    def close(self) -> None:
        """Stop logging, and remove every hook."""
        self._stepped.remove()
        self._metrics.close()
        if self._reports:
            self._reports.stop()

    def _log(self, *_arguments: object) -> None:
        self._steps += 1
        if self._steps % self._every == 0 and (metrics := self._metrics.read()):
            self._accelerator.log(dict(metrics), step=self._steps)
