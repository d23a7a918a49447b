"""Batches of random lengths on a phantom: the largest first, then random ones, with what they add."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from memprof.config.schema import SweepConfig
from memprof.gpus.select import Device
from memprof.records import Reading, Status
from memprof.report.length_notes import too_low_bytes
from memprof.worker.client import WorkerClient
from memprof.worker.protocol import Job
from tests.samples import sample_loaded

OWN = """
from torch import nn

class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(100, 256)
        self.layers = nn.Sequential(nn.Linear(256, 1024), nn.GELU(), nn.Linear(1024, 9))

    def forward(self, words):
        return self.layers(self.words(words)).flatten(0, 1)
"""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, phantom_device_h100: Device) -> Iterator[WorkerClient]:
    folder: Path = tmp_path_factory.mktemp("lengths")
    (folder / "own.py").write_text(OWN)
    with WorkerClient(sample_loaded(folder), phantom_device_h100) as client:
        yield client


def measured(client: WorkerClient, size: object, **settings: object) -> Reading:
    base = {"name": "x", "model": "own.py:Tagger", "input": {"shape": ["seq_len"], "dtype": "int64"}, "loss": "sum"}
    config = SweepConfig.model_validate({**base, "sizes": {"seq_len": size}, "optimizers": ["sgd"], **settings})
    (outcome,) = client.outcomes([Job(config=config, optimizer=config.optimizers[0], batch_size=16)], 1)
    assert outcome.status is Status.OK, outcome.error
    assert outcome.reading is not None
    return outcome.reading


def test_lengths_run_the_largest_first_then_random_ones(client: WorkerClient) -> None:
    reading = measured(client, [64, 512, 2048], random_batches=30)
    assert [step.sizes for step in reading.steps[:5]] == [None] * 5
    drawn = [step.sizes["seq_len"] for step in reading.steps[5:] if step.sizes is not None]
    assert len(drawn) == 30
    assert set(drawn) == {64, 512, 2048}
    backward = [step.phases[-2].peak_requested_bytes for step in reading.steps[5:]]
    peaks = dict(zip(drawn, backward, strict=True))
    assert peaks[64] < peaks[512] < peaks[2048]


def test_lengths_largest_steps_are_those_of_a_fixed_length(client: WorkerClient) -> None:
    varied, fixed = measured(client, [64, 512, 2048]), measured(client, 2048)
    assert varied.steps[:5] == fixed.steps
    allocated, reserved = too_low_bytes(varied)
    assert varied.peak_allocated_bytes - fixed.peak_allocated_bytes == allocated
    assert varied.peak_reserved_bytes - fixed.peak_reserved_bytes == reserved


def test_lengths_same_seed_draws_the_same(client: WorkerClient) -> None:
    first, again, other = (measured(client, [64, 512], seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert [step.sizes for step in first.steps] != [step.sizes for step in other.steps]
