"""Mixtures of experts with values of the CPU: tokens of each expert, and the memory that they imply."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, Protocol

import pytest

LAYERS = ["deepseek", "torchtitan", *(["mixtral"] if find_spec("transformers") else [])]


class Figures(Protocol):
    def __call__(self, workload: str) -> Mapping[str, Any]: ...


@pytest.fixture(scope="module")
def found(figures: Figures) -> Mapping[str, Any]:
    return figures("experts.py")


@pytest.mark.parametrize("layer", LAYERS)
def test_experts_get_as_many_tokens_as_on_the_cpu(found: Mapping[str, Any], layer: str) -> None:
    expected, values = found["layers"][layer]["cpu"], found["layers"][layer]["values"]
    assert values["counts"] == expected["counts"]
    assert len({tuple(step) for step in values["counts"]}) == 3  # routers change from step to step
    assert values["losses"] == pytest.approx(expected["losses"], rel=1e-4)
    assert (values["reads"], values["missing"]) == (0, {})


def test_experts_keep_the_memory_of_their_tokens(found: Mapping[str, Any]) -> None:
    kept, direct = found["implied"]
    assert kept == direct
    assert kept > 1_000_000


@pytest.mark.parametrize(("layer", "top"), [("deepseek", 3), ("torchtitan", 2)])
def test_routing_decides_the_tokens_of_each_expert(found: Mapping[str, Any], layer: str, top: int) -> None:
    balanced, worst = found["layers"][layer]["balanced"], found["layers"][layer]["worst"]
    share = 200 * top // 8
    assert balanced["counts"] == [[share] * 8] * 3
    assert [step[0] for step in worst["counts"]] == [2 * share] * 3
    assert all(max(step[1:]) - min(step[1:]) <= 1 and sum(step) == 200 * top for step in worst["counts"])
    assert (balanced["choices"], balanced["reads"]) == (3, 3)  # the reads are those of the losses
    assert balanced["peak"] > found["layers"]["deepseek"]["zeros"]["peak"]


@pytest.mark.parametrize("layer", LAYERS)
def test_routing_computes_no_weights(found: Mapping[str, Any], layer: str) -> None:
    balanced, values = found["layers"][layer]["balanced"], found["layers"][layer]["values"]
    assert balanced["losses"] == [0, 0, 0]  # unknown
    assert balanced["peak"] == pytest.approx(values["peak"], rel=0.02)
    assert 0 < balanced["run"] < 300
    assert balanced["host_bytes"] < 100_000


def test_experts_without_values_get_no_tokens(found: Mapping[str, Any]) -> None:
    zeros = found["layers"]["deepseek"]["zeros"]
    assert zeros["counts"][0] == [0] * 8
    assert zeros["reads"] > 0
    assert zeros["peak"] < found["layers"]["deepseek"]["values"]["peak"]
    assert "split_sizes" in found["layers"]["torchtitan"]["zeros"]["error"]
