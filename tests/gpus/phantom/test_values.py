"""Values of small tensors on the device: those of the CPU where they are known, and zeros elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import pytest

from tests.conftest import torch_is_at_least


class Figures(Protocol):
    def __call__(self, workload: str) -> Mapping[str, Any]: ...


@pytest.fixture(scope="module")
def values(figures: Figures) -> Mapping[str, Any]:
    return figures("small_values.py")


def test_small_tensors_have_the_values_of_the_cpu(values: Mapping[str, Any]) -> None:
    assert values["mismatches"] == {}
    assert values["programs"] >= 500


def test_values_are_unknown_after_an_unknown_operator(values: Mapping[str, Any]) -> None:
    overwritten = dict(values["overwritten"])
    assert overwritten.pop("exp_ of a part") == [1.0, 0.0, 0.0, 0.0]
    assert overwritten.pop("partly known cumsum") == [1.0, 0.0, 0.0, 0.0]
    assert {name: found for name, found in overwritten.items() if found != [0.0] * 4} == {}


def test_values_that_an_operator_only_reads_stay(values: Mapping[str, Any]) -> None:
    read = dict(values["read_only"])
    if not torch_is_at_least(2, 10):
        del read["nonzero"]  # its kernels have other names before, and what they read becomes unknown
    assert {name: found for name, found in read.items() if found != [1.0, 2.0, 3.0, 4.0]} == {}


def test_indices_of_rows_stay_known(values: Mapping[str, Any]) -> None:
    assert {name: found for name, found in values["indices"].items() if found != list(range(32))} == {}


def test_sum_of_an_expanded_scalar_is_computed_only_if_it_is_short(values: Mapping[str, Any]) -> None:
    assert values["expanded"] == [1000.0, 0.0]


def test_outputs_of_a_replayed_graph_are_unknown(values: Mapping[str, Any]) -> None:
    assert values["captured"] == {"captured": [0.0], "replayed": [0.0]}


def test_values_are_computed_up_to_256_ki_integers(values: Mapping[str, Any]) -> None:
    assert values["too_large"] == [0.0, 0.0]


def test_transformers_builds_no_mask_for_an_ordinary_batch(figures: Figures) -> None:
    pytest.importorskip("transformers")
    for name, masks in figures("attention_masks.py").items():
        if name != "stderr":
            assert masks["ordinary"] == 0, name
            assert masks["packed"] > 0, name
