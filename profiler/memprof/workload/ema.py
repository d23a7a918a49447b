"""A moving average of the weights: a second copy of the model on the device."""

from __future__ import annotations

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from memprof.config.schema import Mode, SweepConfig


def build_ema(model: nn.Module, config: SweepConfig) -> AveragedModel | None:
    """Return the average of the weights of `model`, on its device, or ``None`` if the config keeps none."""
    if config.ema is None or config.mode is Mode.INFERENCE:
        return None
    average = get_ema_multi_avg_fn(config.ema.decay)  # type: ignore[no-untyped-call]
    return AveragedModel(model, multi_avg_fn=average, use_buffers=config.ema.use_buffers)


def copies_of_weights(config: SweepConfig) -> int:
    """Return how often the weights are on the device: twice with a moving average."""
    return 1 if config.ema is None or config.mode is Mode.INFERENCE else 2
