"""The verify_cases on two phantoms, which stand for a card and its phantom; neither is ever called measured."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from memprof.experiments.verify import Entry, Verification, phantom_of, to_json, verify, verify_cases
from memprof.gpus.catalog import find_gpu
from memprof.gpus.select import Device, phantom_device
from memprof.records import Source, Status

MODELS = ("mnist_mlp", "resnet18", "encoder", "attention", "pool_net")
Verify = Callable[[str, str | None], Verification]


def entries() -> tuple[Entry, ...]:
    return tuple(entry for entry in verify_cases() if entry.config.name in MODELS)


@pytest.fixture(scope="module")
def verified(phantom_device_h100: Device) -> Verify:
    """A phantom of the catalog against another, or against the phantom that is read off it."""
    del phantom_device_h100  # where no phantom can be had, these tests are skipped
    cache: dict[tuple[str, str | None], Verification] = {}

    def run(first: str, second: str | None) -> Verification:
        if (first, second) not in cache:
            card = phantom_device(find_gpu(first))
            other = phantom_of(card) if second is None else phantom_device(find_gpu(second))
            (one, two), rows = verify(card, other, entries())
            cache[first, second] = Verification(card=one, phantom=two, rows=tuple(rows))
        return cache[first, second]

    return run


def test_a_card_that_is_read_has_a_phantom_equal_to_the_byte(verified: Verify) -> None:
    found = verified("rtx-3060", None)
    assert found.unlike == ()
    assert [row.reason for row in found.rows if not row.is_equal] == []
    assert found.equal == len(entries())
    assert found.phantom.gpu == "nvidia-geforce-rtx-3060"


def test_every_point_ran_to_its_end_with_workspaces_known(verified: Verify) -> None:
    for row in verified("rtx-3060", None).rows:
        assert (row.phantom.status, row.phantom.workspace_known) == (Status.OK, True), (row.model, row.phantom.error)


def test_two_different_cards_differ_where_their_workspaces_do(verified: Verify) -> None:
    found = verified("a100-40gb", "h100-80gb")
    differences = {(row.model, row.point): row.difference_bytes("allocated") for row in found.rows}
    # Two cuBLAS workspaces of 32 MiB on the H100, of 8,519,680 B on the A100 and older ones.
    difference = differences["mnist_mlp, batch 256", "sgd, fp32"]
    assert difference is not None
    assert difference > 2 * (32 << 20) - 3 * 8_519_680
    assert differences["pool_net, batch 256", "inference, fp32"] == 0
    assert 0 < found.equal < len(found.rows)
    assert {unlike.name for unlike in found.unlike} == {"GPU memory"}


def test_nothing_is_called_measured_that_is_not(verified: Verify) -> None:
    found = verified("a100-40gb", "h100-80gb")
    assert (found.card.source, found.phantom.source) == (Source.EMULATED, Source.EMULATED)
    assert "measured" not in str(to_json(found))
