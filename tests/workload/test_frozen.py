"""Which parameters patterns freeze, and what is refused."""

from __future__ import annotations

import pytest
from torch import nn

from memprof.errors import WorkloadError
from memprof.workload.frozen import freeze, trained_parameters


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 4))


@pytest.mark.parametrize(
    ("patterns", "trained"),
    [
        ([], ["0.weight", "0.bias", "2.weight", "2.bias"]),
        (["0.*"], ["2.weight", "2.bias"]),
        (["*.bias"], ["0.weight", "2.weight"]),
        (["*", "!2.*"], ["2.weight", "2.bias"]),
        (["!0.*", "*", "!2.bias"], ["2.bias"]),
        (["[0]*"], ["2.weight", "2.bias"]),
    ],
)
def test_freeze_last_matching_pattern_decides(patterns: list[str], trained: list[str]) -> None:
    model = network()
    freeze(model, patterns)
    assert [name for name, parameter in model.named_parameters() if parameter.requires_grad] == trained
    assert len(trained_parameters(model)) == len(trained)


def test_freeze_tied_weight_goes_by_its_first_name() -> None:
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    freeze(model, ["0.*"])
    assert not model[1].weight.requires_grad
    with pytest.raises(WorkloadError, match=r"'1\.\*' matches no parameter"):
        freeze(model, ["1.*"])


@pytest.mark.parametrize(
    ("patterns", "text"),
    [
        (["encoder.*"], "freeze: 'encoder.*' matches no parameter; a name of this model is 0.weight"),
        (["2.wieght"], "freeze: '2.wieght' matches no parameter; did you mean 2.weight?"),
        (["*"], "freeze: all parameters are frozen, so there is nothing to train; add for example '!2.bias'"),
    ],
)
def test_freeze_refuses_in_one_line(patterns: list[str], text: str) -> None:
    with pytest.raises(WorkloadError) as caught:
        freeze(network(), patterns)
    assert str(caught.value) == text
