"""What a process can ask the phantom that it runs on, and the answer on a machine without one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from memprof.gpus.catalog import find_gpu
from memprof.gpus.phantom.runtime import unknown_workspaces

Figures = Callable[..., Mapping[str, Any]]
# The catalog refuses such a name: the quotation mark breaks the GPU's description, and cuDNN does not accept it.
UNDESCRIBED = replace(find_gpu("t4"), name='Tesla "T4"')


@pytest.fixture(scope="module")
def unanswered(figures: Figures) -> Mapping[str, Any]:
    return figures("plain_cnn.py", gpu=UNDESCRIBED)


@pytest.fixture(scope="module")
def answered(figures: Figures) -> Mapping[str, Any]:
    return figures("plain_cnn.py", gpu="t4")


def test_without_a_phantom_there_is_no_count() -> None:
    assert unknown_workspaces() is None


def test_nothing_is_unknown_before_anything_was_asked(answered: Mapping[str, Any]) -> None:
    assert answered["unknown"][0] == 0


def test_no_workspace_is_unknown_if_cudnn_answers(answered: Mapping[str, Any]) -> None:
    assert answered["answers"]
    assert answered["unknown"] == [0, 0, 0]


def test_training_runs_if_cudnn_does_not_answer(unanswered: Mapping[str, Any]) -> None:
    assert unanswered["steps"] == 2
    assert unanswered["gradients"]


def test_each_plan_that_cudnn_does_not_answer_is_counted_once(unanswered: Mapping[str, Any]) -> None:
    """Two convolutions: both forward, both weight gradients, one input gradient; the second step has them."""
    assert not unanswered["answers"]
    assert unanswered["unknown"] == [0, 5, 5]


def test_an_unknown_workspace_takes_no_memory(unanswered: Mapping[str, Any], answered: Mapping[str, Any]) -> None:
    assert unanswered["allocated"] <= answered["allocated"]
