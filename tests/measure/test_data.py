"""Training on a dataset through a DataLoader, on a phantom."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from memprof.gpus.select import Device
from memprof.records import Phase, Reading, Status
from memprof.worker.client import WorkerClient
from memprof.worker.protocol import Job
from tests.samples import sample_config, sample_loaded
from tests.workload.mnist_files import write_mnist

IMAGES, BATCH_SIZE = 1500, 64
MNIST = {"dataset": "torchvision:MNIST", "transform": "mnist"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_mnist(folder / "data", IMAGES)
    return folder


@pytest.fixture(scope="module")
def client(folder: Path, phantom_device_h100: Device) -> Iterator[WorkerClient]:
    with WorkerClient(sample_loaded(folder), phantom_device_h100) as client:
        yield client


def measured(client: WorkerClient, batch_size: int = BATCH_SIZE, **settings: object) -> Reading:
    config = sample_config(**{"optimizers": ["adam"], **settings})
    (outcome,) = client.outcomes([Job(config=config, optimizer=config.optimizers[0], batch_size=batch_size)], 1)
    assert outcome.status is Status.OK, outcome.error
    assert outcome.reading is not None
    return outcome.reading


def test_twenty_batches_with_two_workers_peak_like_made_up_ones(client: WorkerClient) -> None:
    settings = {"workers": 2, "pin_memory": True, "prefetch_factor": 2, "non_blocking": True, "drop_last": True}
    real, made_up = measured(client, steps=20, data={**MNIST, **settings}), measured(client, steps=20)
    assert len(real.steps) == 22  # two of the next epoch
    assert real.peak_allocated_bytes == made_up.peak_allocated_bytes
    assert real.peak_reserved_bytes == made_up.peak_reserved_bytes
    assert [step.phases for step in real.steps[:20]] == [step.phases for step in made_up.steps]


def test_smaller_last_batch_is_a_step_of_its_own(client: WorkerClient) -> None:
    steps = measured(client, data=MNIST).steps
    assert [step.samples for step in steps] == [None] * 5 + [IMAGES % BATCH_SIZE] + [None] * 2
    assert steps[5].peak_allocated_bytes < steps[4].peak_allocated_bytes


def test_uint8_pixels_are_next_to_the_converted_batch(client: WorkerClient) -> None:
    size = 1000
    floats, pixels = (
        measured(client, size, data={**MNIST, "drop_last": True, "pixels": kind}).phase_peak_bytes(Phase.LOAD)
        for kind in ("float32", "uint8")
    )
    assert floats is not None
    assert pixels is not None
    assert pixels - floats == 784_384  # one byte for each pixel, in blocks of 512 bytes
