"""Losses by name, for each kind of output that models return."""

from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from memprof.config.schema import SweepConfig
from memprof.errors import WorkloadError
from memprof.workload import Loss, build_loss

LOGITS = torch.arange(12.0).reshape(3, 4).sin()
LABELS = torch.tensor([0, 3, 2])
LABEL = {"shape": [], "dtype": "int64", "range": [0, 4]}


def loss(spec: Any, target: Any = LABEL) -> Loss:
    return build_loss(
        SweepConfig.model_validate(
            {"name": "x", "model": "mnist_mlp", "input": [{"shape": [4]}], "loss": spec, "target": target}
        )
    )


def refusal(spec: Any, target: Any = LABEL) -> str:
    with pytest.raises(WorkloadError) as caught:
        loss(spec, target)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@dataclass
class HasLogits:
    """An output with fields, the loss first, as language models return it."""

    loss: Tensor | None
    logits: Tensor


Heads = namedtuple("Heads", ["logits", "aux_logits2", "aux_logits1"])


def test_build_loss_finds_functions_and_classes() -> None:
    expected = functional.cross_entropy(LOGITS, LABELS)
    assert loss("cross_entropy")(LOGITS, LABELS) == expected
    assert loss("CrossEntropyLoss")(LOGITS, LABELS) == expected
    assert loss("mse_loss")(LOGITS, LOGITS + 2) == 4


def test_build_loss_passes_kwargs() -> None:
    smoothed = functional.cross_entropy(LOGITS, LABELS, label_smoothing=0.1)
    for name in ("cross_entropy", "CrossEntropyLoss"):
        assert loss({"name": name, "kwargs": {"label_smoothing": 0.1}})(LOGITS, LABELS) == smoothed
        assert "label_smothing" in refusal({"name": name, "kwargs": {"label_smothing": 0.1}})


@pytest.mark.parametrize(
    "output",
    [
        HasLogits(loss=None, logits=LOGITS),
        HasLogits(loss=torch.tensor(9.0), logits=LOGITS),
        {"logits": LOGITS, "hidden": LOGITS * 2},
        {"loss": torch.tensor(9.0), "logits": LOGITS},
        (LOGITS, LOGITS * 2),
        [LOGITS],
        Heads(LOGITS, None, None),
    ],
)
def test_build_loss_finds_prediction_in_any_output(output: Any) -> None:
    assert loss("cross_entropy")(output, LABELS) == functional.cross_entropy(LOGITS, LABELS)


def test_build_loss_adds_auxiliary_heads() -> None:
    expected = 2 * functional.cross_entropy(LOGITS, LABELS) + functional.cross_entropy(LOGITS * 2, LABELS)
    output = Heads(LOGITS, LOGITS, LOGITS * 2)
    torch.testing.assert_close(loss("cross_entropy")(output, LABELS), expected)


def test_build_loss_sum_needs_no_target() -> None:
    assert loss("sum", None)((LOGITS,), None) == LOGITS.sum()


@pytest.mark.parametrize("output", [LOGITS.sum(), (LOGITS.sum(), LOGITS), {"loss": LOGITS.sum(), "logits": LOGITS}])
def test_build_loss_output_returns_model_loss(output: Any) -> None:
    assert loss("output", None)(output, None) == LOGITS.sum()


def test_build_loss_output_without_scalar_is_refused() -> None:
    with pytest.raises(WorkloadError, match=r"a tensor of shape \[3, 4\]"):
        loss("output", None)(LOGITS, None)


def test_build_loss_typo_suggests_nearest() -> None:
    assert "did you mean cross_entropy?" in refusal("cross_entrpy")
    assert "did you mean MSELoss?" in refusal("MSEloss")


def test_build_loss_function_without_target_is_refused() -> None:
    assert "is not in torch.nn.functional or torch.nn" in refusal("softmax")


def test_build_loss_without_target_is_refused() -> None:
    assert refusal("cross_entropy", None).startswith("loss 'cross_entropy' needs a target")


def test_build_loss_output_without_tensor_is_refused() -> None:
    with pytest.raises(WorkloadError, match="returned NoneType without a tensor"):
        loss("sum", None)(None, None)
