"""What a model's layers and its output say about the input and the target that a config lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from memprof.errors import WorkloadError
from memprof.workload.propose import Proposal, propose

SOURCE = """
import torch
from torch import nn


def mlp(): return nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 3))
def cnn(): return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 26 * 26, 10))
def per_pixel(): return nn.Sequential(nn.Conv2d(3, 5, 3, padding=1))
def silent(): return nn.Flatten()


class Tokens(nn.Module):
    def __init__(self, positions=64):
        super().__init__()
        self.embed, self.head = nn.Embedding(100, 8), nn.Linear(8, 100)
        self.positions = nn.Parameter(torch.zeros(positions, 8))

    def forward(self, ids):
        return self.head(self.embed(ids) + self.positions).transpose(1, 2)


class OwnLoss(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 1)

    def forward(self, x): return self.layer(x).mean()


class Picky(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(7, 1, 1)

    def forward(self, x): raise ValueError("no")
"""


def _proposed(folder: Path, factory: str, **settings: Any) -> Proposal | None:
    (folder / "net.py").write_text(SOURCE)
    return propose({"model": f"net.py:{factory}", **settings}, folder)


@pytest.mark.parametrize(
    ("factory", "options", "layer"),
    [
        ("mlp", "--input 20 --classes 3", "0 takes 20 features"),
        ("cnn", "--input 1x28x28 --classes 10", "0 takes 1 channels"),
        ("per_pixel", "--input 3x224x224 --target 224x224:int64:0-5", "0 takes 3 channels"),
        ("Tokens", "--input 64:int64:0-100 --target 64:int64:0-100", "embed has 100 entries"),
        ("OwnLoss", "--input 6 --loss output", "layer takes 6 features"),
    ],
)
def test_proposal_follows_layers_and_output(tmp_path: Path, factory: str, options: str, layer: str) -> None:
    assert _proposed(tmp_path, factory) == Proposal(options=options, layer=layer, ran=True)


def test_proposal_for_a_given_input_is_the_target_alone(tmp_path: Path) -> None:
    found = _proposed(tmp_path, "mlp", input={"shape": [20]})
    assert found == Proposal(options="--classes 3", layer="", ran=True)


def test_proposal_that_could_not_run_is_an_example(tmp_path: Path) -> None:
    found = _proposed(tmp_path, "Picky")
    assert found == Proposal(options="--input 7x224x224", layer="layer takes 7 channels", ran=False)


def test_proposal_without_a_telling_layer_is_none(tmp_path: Path) -> None:
    assert _proposed(tmp_path, "silent", mode="inference") is None


def test_proposal_for_a_broken_model_says_why(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="no callable 'mpl'; did you mean mlp"):
        _proposed(tmp_path, "mpl")
