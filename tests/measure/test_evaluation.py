"""The evaluation between two epochs on a phantom: a phase of its own, next to all that training keeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from memprof.gpus.select import Device
from memprof.records import Outcome, Phase, PhaseReading, Status
from memprof.worker.client import WorkerClient
from memprof.worker.protocol import Job
from tests.samples import TRAINING_PHASES, sample_config, sample_loaded

LARGE = 4096
PIXELS_BYTES, LABEL_BYTES = 784 * 4, 8
TRAINING_BATCH_BYTES = 64 * (PIXELS_BYTES + LABEL_BYTES)  # a multiple of 512


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, phantom_device_h100: Device) -> Iterator[WorkerClient]:
    with WorkerClient(sample_loaded(tmp_path_factory.mktemp("evaluation")), phantom_device_h100) as client:
        yield client


def evaluated(client: WorkerClient, **settings: object) -> Outcome:
    config = sample_config(**{"evaluation": {"batch_size": LARGE}, **settings})
    (outcome,) = client.outcomes([Job(config=config, optimizer=config.optimizers[0], batch_size=64)], 1)
    assert outcome.status is Status.OK, outcome.error
    return outcome


def steps_of(outcome: Outcome) -> list[Sequence[PhaseReading]]:
    assert outcome.reading is not None
    return [step.phases for step in outcome.reading.steps]


def test_evaluation_follows_the_steps_and_two_more_follow(client: WorkerClient) -> None:
    steps = [[reading.phase for reading in phases] for phases in steps_of(evaluated(client))]
    training = list(TRAINING_PHASES)
    assert steps == [training] * 4 + [[*training, Phase.EVALUATION]] + [training] * 2


@pytest.mark.parametrize(("mode", "batches"), [("new", 2), ("replaced", 1), ("resident", 2)])
def test_evaluation_loads_batches_of_its_own_size(client: WorkerClient, mode: str, batches: int) -> None:
    evaluation = steps_of(evaluated(client, batch=mode))[4][-1]
    outputs = LARGE * 10 * 4 + 512  # of the first batch, next to the second one as it is loaded
    loading = batches * LARGE * (PIXELS_BYTES + LABEL_BYTES) + outputs
    forward = LARGE * (PIXELS_BYTES + LABEL_BYTES + 2 * 128 * 4) + outputs
    freed = 0 if mode == "resident" else TRAINING_BATCH_BYTES
    added = evaluation.peak_allocated_bytes - evaluation.allocated_before_bytes + freed
    assert max(loading, forward) <= added <= max(loading, forward) + LARGE * 10 * 4


def test_evaluation_frees_what_it_used(client: WorkerClient) -> None:
    steps = steps_of(evaluated(client))
    evaluation = steps[4][-1]
    assert evaluation.allocated_after_bytes == evaluation.allocated_before_bytes - TRAINING_BATCH_BYTES
    after = [[phase.peak_allocated_bytes for phase in step[1:]] for step in steps[5:]]  # without loading
    assert after[0] == after[1]


def test_evaluation_without_a_size_has_that_of_training(client: WorkerClient) -> None:
    small = steps_of(evaluated(client, evaluation={}))[4][-1]
    assert small.peak_allocated_bytes - small.allocated_before_bytes < 64 * 3 * PIXELS_BYTES
