"""Values that the CPU computes for a phantom: those of the same program on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import pytest

from tests.conftest import torch_is_at_least


class Figures(Protocol):
    def __call__(self, workload: str, *arguments: str) -> Mapping[str, Any]: ...


@pytest.fixture(scope="module")
def found(figures: Figures) -> Mapping[str, Any]:
    return figures("host_values.py")


def test_programs_have_the_results_and_sizes_of_the_cpu(found: Mapping[str, Any]) -> None:
    assert found["mismatches"] == {}
    assert found["programs"] >= 25


def test_random_values_follow_the_seed_of_the_device(found: Mapping[str, Any]) -> None:
    first, again, other = found["sampled"]
    assert first == again
    assert first != other
    assert sorted(first[1]) == [0, 1, 2, 3, 4]
    assert set(first[4]) == {0.0, 2.0}


def test_the_programs_own_generator_is_not_used(found: Mapping[str, Any]) -> None:
    without, with_values = found["caller_seed"]
    assert without == with_values


def test_only_what_a_read_depends_on_is_computed(found: Mapping[str, Any]) -> None:
    assert found["laziness"]["before"] == 0
    assert found["laziness"]["after"] == 4  # the random numbers, the comparison, its sum, and the read
    assert found["laziness"]["operators"] > 20


def test_tensor_from_before_is_an_unknown_read(found: Mapping[str, Any]) -> None:
    assert found["unknown"]["reads"] == 1


def test_values_change_no_allocation_and_no_free(figures: Figures) -> None:
    without, with_values = figures("host_values_memory.py"), figures("host_values_memory.py", "cpu")
    assert with_values == without
    assert without["resnet18"]["events"] > 1000


@pytest.mark.skipif(not torch_is_at_least(2, 10), reason="before PyTorch 2.10 a reduction does not say its kind")
def test_absent_ranks_send_what_this_rank_sends(figures: Figures) -> None:
    found = figures("absent_values.py")
    assert {name: difference for name, difference in found["differences"].items() if difference} == {}
    assert len(found["differences"]) == 11
    assert (found["reads"], found["missing"]) == (0, {})
    assert found["ddp"]["losses"] == pytest.approx(found["cpu"]["losses"], rel=1e-5)
    assert found["ddp"]["kept"] == found["cpu"]["kept"]
    assert len(set(found["cpu"]["kept"])) == 3


def test_values_change_no_allocation_and_no_free_of_ddp(figures: Figures) -> None:
    without, with_values = figures("absent_values.py", "zeros"), figures("absent_values.py", "cpu")
    assert with_values["events"] == without["events"]
    assert len(without["events"]) > 100
