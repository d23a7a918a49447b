"""The evaluation between two epochs: batches of its own size in eval mode, without autograd."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import nn

from memprof.config.schema import BatchMode, SweepConfig
from memprof.measure.recorder import Phases
from memprof.records import Phase
from memprof.workload import BatchLoader, Loss, autocast, build_loss, make_loader

BATCHES = 2  # the second is loaded next to the output of the first
Loaders = Callable[[SweepConfig, int, torch.device], BatchLoader]
STEPS_AFTER = 2  # training steps after the evaluation, which find the blocks that it left


class EvaluationPass:
    """Runs after the last step of an epoch, next to what training keeps: gradients, output and loss.

    The variable of the training batch gets the first batch of the evaluation, so both exist only while that is loaded.
    """

    def __init__(
        self,
        model: nn.Module,
        config: SweepConfig,
        batch_size: int,
        device: torch.device,
        folder: Path,
        loaders: Loaders | None = None,
    ) -> None:
        """Prepare the pass; nothing is allocated. `batch_size` counts unless the config has one for evaluation."""
        own = config.evaluation.batch_size if config.evaluation else None
        # A batch that stays on the device is only for training.
        mode = BatchMode.NEW if config.batch is BatchMode.RESIDENT else config.batch
        self._model, self._config = model, config.model_copy(update={"batch": mode})
        self._batch_size, self._device = own or batch_size, device
        self._loss_function: Loss = build_loss(config)
        self._loaders = loaders or partial(make_loader, folder=folder, epoch_steps=BATCHES)

    def __call__(self, recorder: Phases, training: BatchLoader) -> None:
        """Evaluate as one phase, free what it used and the batch of `training`, and go back to train mode."""
        self._model.eval()
        with recorder.phase(Phase.EVALUATION):
            self._run(recorder, training)
        self._model.train()

    def _run(self, recorder: Phases, training: BatchLoader) -> None:
        loader = self._loaders(self._config, self._batch_size, self._device)
        listener = recorder.listener
        for _ in range(BATCHES):
            listener.batch_loaded(loader.load())
            training.release()
            with torch.no_grad(), autocast(self._config, self._device.type):
                output = loader.current.run(self._model)
                listener.outputs_kept("output of the evaluation", output)
                loss = self._loss_function(output, loader.current.target)
                listener.outputs_kept("loss of the evaluation", loss)
