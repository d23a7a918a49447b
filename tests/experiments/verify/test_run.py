"""A verification of two phantoms, in place of a real GPU and its phantom; neither is ever called measured."""

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
    """Compare a phantom of the catalog with another one, or with the phantom of its own properties."""
    del phantom_device_h100  # if no phantom can be built, these tests are skipped
    cache: dict[tuple[str, str | None], Verification] = {}

    def run(first: str, second: str | None) -> Verification:
        if (first, second) not in cache:
            gpu = phantom_device(find_gpu(first))
            other = phantom_of(gpu) if second is None else phantom_device(find_gpu(second))
            (one, two), rows = verify(gpu, other, entries())
            cache[first, second] = Verification(gpu=one, phantom=two, rows=tuple(rows))
        return cache[first, second]

    return run


def test_phantom_of_a_gpu_is_equal_to_the_byte(verified: Verify) -> None:
    found = verified("rtx-3060", None)
    assert found.mismatches == ()
    assert [row.reason for row in found.rows if not row.is_equal] == []
    assert found.equal == len(entries())
    assert found.phantom.gpu == "nvidia-geforce-rtx-3060"


def test_rows_ran_to_their_end_with_known_workspaces(verified: Verify) -> None:
    for row in verified("rtx-3060", None).rows:
        assert (row.phantom.status, row.phantom.workspace_known) == (Status.OK, True), (row.model, row.phantom.error)


def test_two_different_gpus_differ_in_their_workspaces(verified: Verify) -> None:
    found = verified("a100-40gb", "h100-80gb")
    differences = {(row.model, row.point): row.difference_bytes("allocated") for row in found.rows}
    # Two cuBLAS workspaces of 32 MiB on the H100, of 8,519,680 B on the A100 and older ones.
    difference = differences["mnist_mlp, batch 256", "sgd, fp32"]
    assert difference is not None
    assert difference > 2 * (32 << 20) - 3 * 8_519_680
    assert differences["pool_net, batch 256", "inference, fp32"] == 0
    assert 0 < found.equal < len(found.rows)
    assert {mismatch.name for mismatch in found.mismatches} == {"GPU memory"}


def test_record_of_two_phantoms_is_not_called_measured(verified: Verify) -> None:
    found = verified("a100-40gb", "h100-80gb")
    assert (found.gpu.source, found.phantom.source) == (Source.EMULATED, Source.EMULATED)
    assert "measured" not in str(to_json(found))
