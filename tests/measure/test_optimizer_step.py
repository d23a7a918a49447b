"""What a step does besides the update: it clips gradients, steps schedulers and averages the weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from memprof.config.schema import OptimizerConfig
from memprof.measure.optimizer_step import AfterStep, make_optimizer
from tests.samples import sample_config

SGD = OptimizerConfig(name="sgd", kwargs={"lr": 1.0})


def one_step(**changes: Any) -> tuple[nn.Linear, AfterStep]:
    """Return a layer of ones after a step with a gradient of 3 and 4, and what followed the step."""
    config, model = sample_config(**changes), nn.Linear(2, 1, bias=False)
    nn.init.ones_(model.weight)
    optimizer = make_optimizer(model, config, SGD)
    after = AfterStep(model, config, optimizer)
    model(torch.tensor([3.0, 4.0])).sum().backward()
    optimizer.step(torch.amp.GradScaler("cpu", enabled=False))
    after()
    return model, after


def test_step_without_clipping_uses_the_whole_gradient() -> None:
    model, after = one_step()
    assert model.weight.tolist() == [[-2.0, -3.0]]
    assert after.ema is None


def test_step_clips_gradients_to_the_norm() -> None:
    model, _ = one_step(clip_grad_norm=1.0)
    assert model.weight.tolist() == [[pytest.approx(0.4), pytest.approx(0.2)]]


def test_scheduler_steps_after_the_optimizer() -> None:
    _, after = one_step(scheduler={"name": "exponentiallr", "kwargs": {"gamma": 0.5}})
    assert [scheduler.get_last_lr() for scheduler in after._schedulers] == [[0.5]]


def test_ema_follows_the_weights_with_its_decay() -> None:
    model, after = one_step(ema=0.75)
    assert after.ema is not None
    after()
    averaged = after.ema.module.weight
    assert isinstance(averaged, torch.Tensor)
    assert averaged.tolist() == model.weight.tolist()  # the first update copies them
    nn.init.zeros_(model.weight)
    after()
    assert averaged.tolist() == [[-1.5, -2.25]]


def test_ema_of_inference_is_not_kept() -> None:
    from memprof.workload.ema import copies_of_weights

    assert copies_of_weights(sample_config(ema=0.9)) == 2
    assert copies_of_weights(sample_config(ema=0.9, mode="inference")) == 1
