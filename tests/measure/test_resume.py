"""Resumed runs on a phantom: what loading takes, and that the optimizer's state exists from the first step."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from memprof.config.schema import SweepConfig
from memprof.gpus.select import Device
from memprof.records import Outcome, Phase, PhaseReading, Reading, Status
from memprof.worker.client import WorkerClient
from memprof.worker.protocol import Job
from tests.samples import sample_config, sample_loaded

PARAMETERS_BYTES = 784 * 128 * 4 + 512 + 128 * 10 * 4 + 512  # of mnist_mlp, in blocks of 512 bytes
TENSORS = 4
CHECKPOINTS = """
import torch
from torch import nn

def train(width):
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Linear(width, 10))
    adam = torch.optim.Adam(model.parameters())
    model(torch.zeros(2, 784)).sum().backward()
    adam.step()
    return model.state_dict(), adam.state_dict()

class Own: pass

model, adam = train(128)
other, _ = train(64)
torch.save({"model": model, "optimizer": adam, "epoch": 3}, "good.pt")
torch.save({"model_state_dict": model, "optimizer_state_dict": adam}, "old.pt", _use_new_zipfile_serialization=False)
torch.save({"model": other, "optimizer": adam}, "other.pt")
torch.save({"model": model, "optimizer": {"state": {}, "param_groups": []}}, "groups.pt")
torch.save(model, "bare.pt")
torch.save({"model": model, "optimizer": adam, "own": Own()}, "own.pt")
torch.save([model], "list.pt")
open("text.pt", "w").write("epoch 3")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    subprocess.run([sys.executable, "-c", CHECKPOINTS], cwd=folder, check=True, timeout=300)
    return folder


@pytest.fixture(scope="module")
def client(folder: Path, phantom_device_h100: Device) -> Iterator[WorkerClient]:
    with WorkerClient(sample_loaded(folder), phantom_device_h100) as client:
        yield client


def outcome_of(client: WorkerClient, resume: object, **settings: object) -> Outcome:
    config: SweepConfig = sample_config(resume=resume, **{"optimizers": ["adam"], **settings})
    (outcome,) = client.outcomes([Job(config=config, optimizer=config.points()[0][0], batch_size=64)], 1)
    return outcome


def reading_of(outcome: Outcome) -> Reading:
    assert outcome.status is Status.OK, outcome.error
    assert outcome.reading is not None
    return outcome.reading


def loading_of(outcome: Outcome) -> PhaseReading:
    loading = reading_of(outcome).resume
    assert loading is not None
    assert loading.phase is Phase.RESUME
    return loading


def backward_peak(reading: Reading, step: int) -> int:
    phases = {phase.phase: phase for phase in reading.steps[step].phases}
    return phases[Phase.BACKWARD].peak_allocated_bytes


@pytest.mark.parametrize("resume", [True, "good.pt", "old.pt"])
def test_resume_on_cpu_loads_the_state_alone(client: WorkerClient, resume: object) -> None:
    loading = loading_of(outcome_of(client, resume))
    assert loading.allocated_before_bytes == PARAMETERS_BYTES
    assert loading.peak_allocated_bytes == loading.allocated_after_bytes == 3 * PARAMETERS_BYTES


@pytest.mark.parametrize("checkpoint", [None, "good.pt"])
def test_resume_on_cuda_also_holds_the_weights_twice(client: WorkerClient, checkpoint: str | None) -> None:
    loading = loading_of(outcome_of(client, {"checkpoint": checkpoint, "map_location": "cuda"}))
    counters = TENSORS * 512  # Adam's counts of steps, which are on the GPU then
    assert loading.peak_allocated_bytes == 4 * PARAMETERS_BYTES + counters
    assert loading.allocated_after_bytes == 3 * PARAMETERS_BYTES + counters


def test_resume_first_step_peaks_like_the_last(client: WorkerClient) -> None:
    resumed, fresh = reading_of(outcome_of(client, True)), reading_of(outcome_of(client, None))
    assert resumed.first_step_peak_allocated_bytes == resumed.steady_peak_allocated_bytes
    assert backward_peak(fresh, 0) <= backward_peak(fresh, -1) - 2 * PARAMETERS_BYTES
    assert backward_peak(resumed, 0) == backward_peak(resumed, -1)
    assert resumed.steady_peak_allocated_bytes == fresh.steady_peak_allocated_bytes
    first = {phase.phase: phase for phase in resumed.steps[0].phases}
    assert first[Phase.OPTIMIZER].allocated_after_bytes == first[Phase.OPTIMIZER].allocated_before_bytes
    assert fresh.resume is None


def test_resume_state_of_parameters_in_backward(client: WorkerClient) -> None:
    loading = loading_of(outcome_of(client, True, optimizer_in_backward=True))
    assert loading.allocated_after_bytes == 3 * PARAMETERS_BYTES


def test_resume_for_inference_loads_the_model_alone(client: WorkerClient) -> None:
    loading = loading_of(outcome_of(client, {"checkpoint": "good.pt", "map_location": "cuda"}, mode="inference"))
    assert loading.allocated_after_bytes == PARAMETERS_BYTES
    assert loading.peak_allocated_bytes == 4 * PARAMETERS_BYTES + TENSORS * 512  # the optimizer's state is in the file


@pytest.mark.parametrize(
    ("checkpoint", "problem"),
    [
        (
            "other.pt",
            "checkpoint other.pt is of another model: 3 have other shapes (first 1.weight: [64, 784] instead of "
            "[128, 784])",
        ),
        ("groups.pt", "checkpoint groups.pt has the state of another optimizer: loaded state dict has a different"),
        ("bare.pt", "checkpoint bare.pt is the state of a model alone; a resumed run needs that of the optimizer too"),
        ("own.pt", "checkpoint own.pt has an object of __main__.Own; memprof loads only tensors and plain values"),
        ("list.pt", "checkpoint list.pt has a list, not a dict of states"),
        ("text.pt", "text.pt is no checkpoint of torch.save"),
    ],
)
def test_resume_unfit_checkpoint_is_one_line(client: WorkerClient, checkpoint: str, problem: str) -> None:
    outcome = outcome_of(client, checkpoint)
    assert outcome.status is Status.ERROR
    assert str(outcome.error).startswith(f"loading the checkpoint: {problem}")
