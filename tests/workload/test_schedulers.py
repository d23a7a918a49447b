"""Learning-rate schedulers by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.optim import SGD, lr_scheduler

from memprof.config.finetuning import SchedulerConfig
from memprof.config.names import SCHEDULERS
from memprof.errors import WorkloadError
from memprof.workload.schedulers import build_scheduler, step_scheduler


def optimizer() -> SGD:
    return SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_build_scheduler_every_name_builds_and_steps(name: str) -> None:
    for spelled in (name, name.lower()):
        scheduler = build_scheduler(SchedulerConfig(name=spelled), optimizer())
        assert type(scheduler) is getattr(lr_scheduler, name)
        step_scheduler(scheduler)


def test_build_scheduler_passes_arguments_on() -> None:
    built = build_scheduler(SchedulerConfig(name="steplr", kwargs={"step_size": 3, "gamma": 0.5}), optimizer())
    assert isinstance(built, lr_scheduler.StepLR)
    assert (built.step_size, built.gamma) == (3, 0.5)


@pytest.mark.parametrize(
    ("name", "kwargs", "text"),
    [
        ("steplr", {"stepsize": 3}, "scheduler 'steplr' cannot be built: TypeError: .*'stepsize'"),
        ("cosine", {}, r"scheduler 'cosine' is not in torch\.optim\.lr_scheduler"),
    ],
)
def test_build_scheduler_refuses_in_one_line(name: str, kwargs: dict[str, Any], text: str) -> None:
    with pytest.raises(WorkloadError, match=text):
        build_scheduler(SchedulerConfig(name=name, kwargs=kwargs), optimizer())
