"""What a process asks the phantom it runs on, and hears on a machine without one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from memprof.gpus.catalog import find_gpu
from memprof.gpus.phantom.runtime import unknown_workspaces

Figures = Callable[..., Mapping[str, Any]]
# The catalog refuses such a name: its quotation mark breaks the description of the GPU, which cuDNN then does not take.
UNDESCRIBED = replace(find_gpu("t4"), name='Tesla "T4"')


@pytest.fixture(scope="module")
def hollow(figures: Figures) -> Mapping[str, Any]:
    return figures("plain_cnn.py", gpu=UNDESCRIBED)


@pytest.fixture(scope="module")
def told(figures: Figures) -> Mapping[str, Any]:
    return figures("plain_cnn.py", gpu="t4")


def test_without_a_phantom_there_is_no_count() -> None:
    assert unknown_workspaces() is None


def test_nothing_is_unknown_before_anything_was_asked(told: Mapping[str, Any]) -> None:
    assert told["unknown"][0] == 0


def test_nothing_is_unknown_where_cudnn_answers(told: Mapping[str, Any]) -> None:
    assert told["answers"]
    assert told["unknown"] == [0, 0, 0]


def test_training_goes_on_where_cudnn_does_not_answer(hollow: Mapping[str, Any]) -> None:
    assert hollow["steps"] == 2
    assert hollow["gradients"]


def test_each_plan_that_cudnn_does_not_answer_is_counted_once(hollow: Mapping[str, Any]) -> None:
    """Two convolutions: both forward, both weight gradients, one input gradient; the second step has them."""
    assert not hollow["answers"]
    assert hollow["unknown"] == [0, 5, 5]


def test_an_unknown_workspace_takes_no_memory(hollow: Mapping[str, Any], told: Mapping[str, Any]) -> None:
    assert hollow["allocated"] <= told["allocated"]
