"""The allocator acted out: exact against the real one on a phantom, with plenty of memory and with too little."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memprof.allocator.address_order import AddressPolicy
from memprof.allocator.simulator import address_order_for, simulate
from memprof.config.load import LoadedConfig, load
from memprof.config.overrides import Flag, Override
from memprof.gpus.catalog import find_gpu
from memprof.gpus.select import Device, phantom_device
from memprof.records import Outcome, Status
from memprof.worker.client import WorkerClient
from memprof.worker.protocol import Job
from tests.conftest import torch_is_at_least
from tests.paths import CONFIGS

MIB = 1024**2


@pytest.fixture(scope="module")
def resnet18() -> LoadedConfig:
    return load(CONFIGS / "resnet18.yaml", [Override(flag=Flag.OPTIMIZER, text="adam")])


@pytest.fixture(scope="module")
def run(resnet18: LoadedConfig, phantom_device_h100: Device) -> Iterator[Callable[[int, str], Outcome]]:
    """Run two steps of a batch size on a card of the catalog, noting what is asked of the allocator."""
    with WorkerClient(resnet18, phantom_device_h100) as client:

        def outcome(batch_size: int, gpu: str) -> Outcome:
            job = Job(optimizer=resnet18.config.optimizers[0], batch_size=batch_size, steps=2, record_requests=True)
            environment = dict(phantom_device(find_gpu(gpu)).environment)
            (ended,) = client.outcomes([replace(job, environment=environment)], 1)
            return ended

        yield outcome


def available_bytes(outcome: Outcome, gpu: str) -> int:
    assert outcome.reading is not None
    assert outcome.reading.context_bytes is not None
    return find_gpu(gpu).total_bytes - outcome.reading.context_bytes


@pytest.mark.parametrize("batch_size", [1, 64, 211])
def test_with_plenty_of_memory_it_reserves_what_the_allocator_does(
    run: Callable[[int, str], Outcome], batch_size: int
) -> None:
    real = run(batch_size, "h100-80gb")
    assert real.reading is not None
    assert real.allocator_requests is not None
    # Before torch 2.12 the addresses that the phantom's driver gives decided between free blocks of one size.
    addresses = AddressPolicy.ASCENDING if torch_is_at_least(2, 12) else AddressPolicy.DRIVER
    acted = simulate(real.allocator_requests, available_bytes(real, "h100-80gb"), addresses=addresses)
    assert acted.fits
    assert acted.peak_allocated_bytes == real.reading.peak_allocated_bytes
    assert acted.peak_reserved_bytes == real.reading.peak_reserved_bytes


def test_short_of_memory_it_gives_cached_segments_back_as_the_allocator_does(
    run: Callable[[int, str], Outcome],
) -> None:
    real = run(680, "t4")  # a few samples below the edge
    assert real.status is Status.OK
    assert real.reading is not None
    assert real.allocator_requests is not None
    assert real.reading.allocation_retries > 0
    acted = simulate(real.allocator_requests, available_bytes(real, "t4"))
    assert (acted.fits, acted.peak_reserved_bytes) == (True, real.reading.peak_reserved_bytes)
    assert not simulate(real.allocator_requests, acted.peak_allocated_bytes - MIB).fits


def test_a_run_that_failed_has_no_moves(run: Callable[[int, str], Outcome]) -> None:
    assert run(5000, "t4").allocator_requests is None


@given(st.lists(st.tuples(st.integers(0, 60 * MIB), st.integers(0, 30)), max_size=60))
def test_what_is_given_back_can_be_had_again(drawn: list[tuple[int, int]]) -> None:
    requests: list[int] = []
    alive: list[int] = []
    for place, (size, choice) in enumerate(drawn):
        requests.append(size)
        alive.append(place)
        if choice < len(alive):
            requests.append(~alive.pop(choice))
    ample = simulate(requests, None)
    assert ample.fits
    assert ample.peak_allocated_bytes <= ample.peak_reserved_bytes
    assert simulate(requests, ample.peak_reserved_bytes) == ample
    if ample.peak_allocated_bytes:
        assert not simulate(requests, ample.peak_allocated_bytes - 1).fits


def test_segments_are_as_long_as_the_allocator_makes_them() -> None:
    def reserved(size: int) -> int:
        return simulate([size], None).peak_reserved_bytes

    assert [reserved(size) for size in (1, MIB, MIB + 1, 10 * MIB - 1, 10 * MIB, 21 * MIB)] == [
        2 * MIB,
        2 * MIB,
        20 * MIB,
        10 * MIB,  # rounded up to 512 B it is no smaller than 10 MiB
        10 * MIB,
        22 * MIB,
    ]


@pytest.mark.parametrize(
    ("torch_version", "order"),
    [("2.9.1+cu128", "driver"), ("2.11.0", "driver"), ("2.12.0", "ascending"), ("2.14.1+cu130", "ascending")],
)
def test_ties_go_by_address_before_torch_2_12_and_by_age_since(torch_version: str, order: str) -> None:
    assert address_order_for(torch_version) == order
