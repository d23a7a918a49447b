"""The orders of a phantom's addresses, and their effect on the installed caching allocator."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from memprof.allocator.address_order import AddressPolicy
from memprof.gpus.phantom.environment import address_environment, address_policy
from memprof.units import MIB

Figures = Callable[..., Mapping[str, Any]]
DRIVER = json.loads(Path(__file__).with_name("driver_addresses.json").read_text())


@pytest.fixture(scope="module")
def handed_out(figures: Figures) -> Mapping[AddressPolicy, Mapping[str, Any]]:
    return {policy: figures("addresses.py", gpu="t4", **address_environment(policy)) for policy in AddressPolicy}


def in_order(found: Mapping[str, Any]) -> list[int]:
    """The addresses in the order in which they were given."""
    return [address for pair in zip(found["large"], found["small"], strict=True) for address in pair]


def test_segments_lie_one_above_the_other(handed_out: Mapping[AddressPolicy, Mapping[str, Any]]) -> None:
    addresses = in_order(handed_out[AddressPolicy.ASCENDING])
    assert [after - before for before, after in pairwise(addresses)] == [
        size * MIB for size in (40, 20, 40, 20, 40, 20, 40)
    ]


def test_segments_lie_one_below_the_other(handed_out: Mapping[AddressPolicy, Mapping[str, Any]]) -> None:
    addresses = in_order(handed_out[AddressPolicy.DESCENDING])
    assert [before - after for before, after in pairwise(addresses)] == [
        size * MIB for size in (20, 40, 20, 40, 20, 40, 20)
    ]


@pytest.mark.parametrize("process", range(len(DRIVER["processes"])))
def test_addresses_are_those_that_a_real_driver_gave(process: int, figures: Figures) -> None:
    """Allocations and frees of 2 MiB to 1 GiB, in order and at random, against the addresses of one H200's driver."""
    requests = DRIVER["processes"][process]
    found = figures("driver.py", json.dumps([move[0] for move in requests]))
    first = requests[0][1] - found["addresses"][0] // MIB  # the rest is relative to it
    assert [address // MIB + first for address in found["addresses"]] == [move[1] for move in requests if len(move) > 1]


def test_mixed_addresses_go_both_ways_and_each_time_the_same(
    handed_out: Mapping[AddressPolicy, Mapping[str, Any]], figures: Figures
) -> None:
    addresses = in_order(handed_out[AddressPolicy.MIXED])
    steps = [after - before for before, after in pairwise(addresses)]
    assert min(steps) < 0 < max(steps)
    again = figures("addresses.py", gpu="t4", **address_environment(AddressPolicy.MIXED))
    assert in_order(again) == addresses


@pytest.mark.parametrize("policy", [policy for policy in AddressPolicy if policy is not AddressPolicy.MIXED])
def test_a_place_that_was_given_back_is_taken_again(
    policy: AddressPolicy, handed_out: Mapping[AddressPolicy, Mapping[str, Any]]
) -> None:
    assert handed_out[policy]["again"] == handed_out[policy]["large"][1]


@pytest.mark.parametrize("policy", AddressPolicy)
def test_no_two_segments_overlap(policy: AddressPolicy, handed_out: Mapping[AddressPolicy, Mapping[str, Any]]) -> None:
    found = handed_out[policy]
    spans = sorted([(at, 40 * MIB) for at in found["large"]] + [(at, 20 * MIB) for at in found["small"]])
    assert all(at + size <= above for (at, size), (above, _) in pairwise(spans))


def test_a_policy_that_does_not_exist_is_named(figures: Figures) -> None:
    found = figures("addresses.py", gpu="t4", MEMPROF_PHANTOM_ADDRESSES="sideways")
    assert "there is no policy sideways" in found["stderr"]
    assert len(set(in_order(found))) == len(in_order(found))


def test_the_policy_of_this_process_is_the_users_own_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    assert address_policy() is AddressPolicy.DRIVER
    monkeypatch.setenv("MEMPROF_PHANTOM_ADDRESSES", "mixed")
    assert address_policy() is AddressPolicy.MIXED
