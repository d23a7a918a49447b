"""The experts that a routing gives to tokens: different ones for each token, in the wanted shares."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from memprof.gpus.phantom.values import ExpertRouting
from memprof.gpus.phantom.values.routing import spread_tokens

TOPK = torch.ops.aten.topk.default


@given(st.integers(1, 300), st.integers(1, 8), st.integers(2, 64), st.sampled_from([1.0, 1.5, 2.0, 7.0]))
def test_each_token_gets_different_experts(tokens: int, top: int, experts: int, times: float) -> None:
    top = min(top, experts)
    chosen = spread_tokens(tokens, top, experts, times)
    assert chosen.shape == (tokens, top)
    assert all(len(set(row)) == top for row in chosen.tolist())
    assert 0 <= int(chosen.min()) <= int(chosen.max()) < experts


@given(st.integers(1, 300), st.integers(1, 8), st.integers(2, 64))
def test_balanced_counts_differ_by_one_at_most(tokens: int, top: int, experts: int) -> None:
    top = min(top, experts)
    counts = torch.bincount(spread_tokens(tokens, top, experts, 1).flatten(), minlength=experts)
    assert int(counts.max() - counts.min()) <= 1
    assert int(counts.sum()) == tokens * top


@pytest.mark.parametrize(("times", "most"), [(1.5, 192), (2, 256), (4, 512), (100, 512)])
def test_worst_expert_gets_its_multiple(times: float, most: int) -> None:
    counts = torch.bincount(spread_tokens(512, 2, 8, times).flatten(), minlength=8).tolist()
    assert counts[0] == most  # of 512 tokens with two experts each; the balanced share of each of eight is 128
    assert max(counts[1:]) - min(counts[1:]) <= 1
    assert sum(counts) == 1024


class Layer(nn.Module):
    """A layer that chooses two of its experts."""

    def __init__(self, experts: nn.Module | int, routing: ExpertRouting) -> None:
        super().__init__()
        if isinstance(experts, int):
            self.experts = nn.Module()
            self.num_experts = experts
        else:
            self.experts = experts
        self.routing, self.found = routing, list[bool]()

    def forward(self, scores: torch.Tensor) -> None:
        choices = (self.routing.choice(TOPK, args, named) for args, named in (((scores, 2), {}), ((scores,), {"k": 2})))
        self.found = [choice is not None for choice in choices]


@pytest.mark.parametrize("experts", [8, nn.ModuleList(nn.Linear(1, 1) for _ in range(8))])
def test_topk_over_all_experts_of_a_layer_is_replaced(experts: nn.Module | int) -> None:
    routing = ExpertRouting(1)
    model = nn.Sequential(Layer(experts, routing))
    assert routing.watch(model) == 1
    model(torch.zeros(3, 8))
    assert model[0].found == [True, True]
    model(torch.zeros(3, 4))  # groups of experts
    assert model[0].found == [False, False]
    assert routing.choices == 2
    assert routing.choice(TOPK, (torch.zeros(3, 8), 2), {}) is None  # outside of the layer


def test_choice_has_the_shape_of_the_indices() -> None:
    routing = ExpertRouting(1)
    routing.watch(model := nn.Sequential(Layer(8, routing)))
    kept = []
    model[0].register_forward_pre_hook(lambda *_: kept.append(routing.choice(TOPK, (torch.zeros(2, 5, 8), 3), {})))
    model(torch.zeros(3, 8))
    (choose,) = kept
    assert choose is not None
    values, indices = choose()
    assert values is None
    assert (indices.shape, indices.dtype) == ((2, 5, 3), torch.int64)


def test_model_without_experts_has_nothing_to_watch() -> None:
    assert ExpertRouting(1).watch(nn.Linear(2, 2)) == 0
