"""The simulated allocator against the real one on a phantom, with plenty of memory and with too little."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memprof.allocator.address_order import AddressPolicy
from memprof.allocator.simulator import address_order_for, peak_requested, simulate
from memprof.config.load import LoadedConfig, load
from memprof.config.overrides import Flag, Override
from memprof.gpus.catalog import find_gpu
from memprof.gpus.select import Device, phantom_device
from memprof.records import Outcome, Status
from memprof.units import GIB, MIB
from memprof.worker.client import WorkerClient
from memprof.worker.protocol import Job
from tests.conftest import torch_is_at_least
from tests.paths import CONFIGS


@pytest.fixture(scope="module")
def resnet18() -> LoadedConfig:
    return load(CONFIGS / "resnet18.yaml", [Override(flag=Flag.OPTIMIZER, text="adam")])


@pytest.fixture(scope="module")
def run(resnet18: LoadedConfig, phantom_device_h100: Device) -> Iterator[Callable[[int, str], Outcome]]:
    """Run two steps of a batch size on a GPU of the catalog, and record the allocator requests."""
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


def addresses() -> AddressPolicy:
    """Before torch 2.12 the addresses that the phantom's driver gives decided between free blocks of one size."""
    return AddressPolicy.ASCENDING if torch_is_at_least(2, 12) else AddressPolicy.DRIVER


@pytest.mark.parametrize("batch_size", [1, 64, 211])
def test_simulate_plenty_of_memory_equals_the_allocator(run: Callable[[int, str], Outcome], batch_size: int) -> None:
    real = run(batch_size, "h100-80gb")
    assert real.reading is not None
    assert real.allocator_requests is not None
    simulated = simulate(real.allocator_requests, available_bytes(real, "h100-80gb"), addresses=addresses())
    assert simulated.fits
    assert simulated.peak_allocated_bytes == real.reading.peak_allocated_bytes
    assert simulated.peak_reserved_bytes == real.reading.peak_reserved_bytes


def test_simulate_little_memory_frees_cached_segments(
    run: Callable[[int, str], Outcome],
) -> None:
    real = run(680, "t4")  # a few samples below the limit
    assert real.status is Status.OK
    assert real.reading is not None
    assert real.allocator_requests is not None
    assert real.reading.allocation_retries > 0
    # So near the limit some workspaces of cuDNN are refused, and PyTorch takes other plans.
    available, refused = available_bytes(real, "t4"), real.refused_requests
    simulated = simulate(real.allocator_requests, available, addresses=addresses(), optional=refused)
    assert (simulated.fits, simulated.peak_reserved_bytes) == (True, real.reading.peak_reserved_bytes)
    assert not simulate(real.allocator_requests, simulated.peak_allocated_bytes - MIB).fits


def test_request_log_out_of_memory_ends_at_the_failure(run: Callable[[int, str], Outcome]) -> None:
    real = run(700, "t4")
    assert real.status is Status.OOM
    assert real.allocator_requests is not None
    *before, failed = real.allocator_requests
    assert failed > 0
    available = available_bytes(real, "t4")
    assert simulate(before, available, optional=real.refused_requests).fits
    assert not simulate(real.allocator_requests, available, optional=real.refused_requests).fits


def test_simulate_optional_request_frees_the_cache_and_goes_on() -> None:
    requests = [8 * MIB, ~0, 30 * MIB, ~1, 20 * MIB]
    assert not simulate(requests, 24 * MIB).fits
    found = simulate(requests, 24 * MIB, optional=[1])
    assert (found.fits, found.peak_allocated_bytes, found.peak_reserved_bytes) == (True, 20 * MIB, 20 * MIB)
    assert simulate(requests, None, optional=[1]).peak_allocated_bytes == 30 * MIB


@given(st.lists(st.tuples(st.integers(0, 60 * MIB), st.integers(0, 30)), max_size=60))
def test_simulate_in_its_own_peak_gives_the_same_result(sizes: list[tuple[int, int]]) -> None:
    requests: list[int] = []
    alive: list[int] = []
    for place, (size, choice) in enumerate(sizes):
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


def test_simulate_segment_sizes_equal_the_allocators() -> None:
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


@given(st.lists(st.integers(0, GIB), min_size=1), st.data())
def test_peak_requested_is_a_lower_bound(sizes: list[int], data: st.DataObject) -> None:
    freed = data.draw(st.permutations(range(len(sizes))))
    requests = [*sizes, *(~place for place in freed[::2]), *sizes]
    run = simulate(requests, None)
    assert max(sum(sizes), 2 * sum(sizes) - sum(sizes[place] for place in freed[::2])) == peak_requested(requests)
    assert peak_requested(requests) <= run.peak_allocated_bytes <= run.peak_reserved_bytes


def test_peak_requested_counts_no_optional_request() -> None:
    assert peak_requested([5, 7, ~1, 3], optional=[1]) == 8
    assert peak_requested([5, 7, ~1, 3]) == 12


@pytest.mark.parametrize(
    ("torch_version", "order"),
    [("2.9.1+cu128", "driver"), ("2.11.0", "driver"), ("2.12.0", "ascending"), ("2.14.1+cu130", "ascending")],
)
def test_address_order_for_version_breaks_ties_as_it_does(torch_version: str, order: str) -> None:
    assert address_order_for(torch_version) == order
