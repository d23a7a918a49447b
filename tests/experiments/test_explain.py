"""Every shipped config explained on a phantom: parts add up, nothing is unknown, and the peaks are those of a sweep."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from memprof.breakdown.explanation import CACHED, CONTEXT, Explanation
from memprof.config.load import LoadedConfig, load
from memprof.config.overrides import Flag, Override
from memprof.config.schema import Mode
from memprof.experiments.explain import explain_point
from memprof.experiments.session import open_session
from memprof.gpus.select import Device
from memprof.records import Outcome, Phase, Status
from memprof.units import MIB
from memprof.worker.client import WorkerClient
from memprof.worker.protocol import Job
from tests.conftest import torch_is_at_least
from tests.paths import CONFIGS
from tests.samples import sample_loaded

NAMES = sorted(path.stem for path in CONFIGS.glob("*.yaml"))


@pytest.fixture(scope="module")
def client(phantom_device_h100: Device) -> Iterator[WorkerClient]:
    """One server for all configs; its own is the one with a model file, whose folder it must know."""
    with WorkerClient(load(CONFIGS / "own_model.yaml"), phantom_device_h100) as shared:
        yield shared


def loaded(name: str, *settings: str) -> LoadedConfig:
    trains = load(CONFIGS / f"{name}.yaml").config.mode is Mode.TRAIN and "mode=inference" not in settings
    optimizers = ("sgd", "adam") if trains else ()
    return load(
        CONFIGS / f"{name}.yaml",
        [
            *(Override(flag=Flag.OPTIMIZER, text=optimizer) for optimizer in optimizers),
            *(Override(flag=Flag.SET, text=text) for text in settings),
        ],
    )


def explain(client: WorkerClient, config: LoadedConfig, batch_size: int | None = None) -> list[Explanation]:
    """Explain the smallest batch with each optimizer, and compare each explanation with a measurement of the same."""
    found = []
    sizes = {size for _, size in config.config.points()}
    for optimizer, size in config.config.points():
        if size != min(sizes):
            continue
        job = Job(config=config.config, optimizer=optimizer, batch_size=batch_size or size)
        (plain,) = client.outcomes([job], 1)
        outcome, explanation = client.explain(job)
        assert explanation is not None, outcome.error
        assert_true_to(explanation, plain)
        found.append(explanation)
    return found


def assert_true_to(explanation: Explanation, plain: Outcome) -> None:
    """Each byte is there once, and explaining does not change the figures."""
    assert plain.reading is not None
    assert explanation.peak_allocated_bytes == plain.reading.peak_allocated_bytes
    assert explanation.peak_reserved_bytes == plain.reading.peak_reserved_bytes
    assert explanation.nvml_used_bytes == plain.reading.nvml_used_bytes
    assert sum(explanation.allocated_parts.values()) == explanation.peak_allocated_bytes
    assert sum(explanation.reserved_parts.values()) == explanation.peak_reserved_bytes
    assert explanation.device_parts is not None
    assert sum(explanation.device_parts.values()) == explanation.nvml_used_bytes
    assert min(*explanation.reserved_parts.values(), *explanation.device_parts.values()) >= 0
    assert sum(block.block_bytes for block in explanation.blocks) == explanation.peak_allocated_bytes
    root = explanation.modules[0].parts
    assert sum(root.values()) + sum(explanation.outside_parts.values()) == explanation.peak_allocated_bytes
    assert explanation.unknown_reason is None
    assert explanation.allocated_parts["unknown"] < 0.005 * explanation.peak_allocated_bytes
    assert explanation.reserved_parts["unknown"] < 0.005 * explanation.peak_reserved_bytes
    timeline = explanation.timeline
    totals = [sum(point) for point in zip(*timeline.series.values(), strict=True)]
    assert max(totals) == explanation.peak_allocated_bytes
    assert totals[timeline.positions.index(timeline.peak_position)] == max(totals)
    assert sum(level.added_bytes for level in explanation.memory_levels) == explanation.nvml_used_bytes


@pytest.mark.parametrize("name", NAMES)
def test_parts_of_a_shipped_config_add_up(client: WorkerClient, name: str) -> None:
    config = loaded(name)
    explanations = explain(client, config)
    for explanation in explanations:
        parts, highest = explanation.allocated_parts, explanation.highest_parts
        assert parts["parameters"] == highest["parameters"]
        batches = 2 if explanation.peak.phase is Phase.LOAD else 1  # the previous one still exists
        assert 2 * parts["input"] == batches * highest["input"] > 0
        assert highest["unknown"] == 0
    if config.config.mode is Mode.TRAIN:
        sgd, adam = (explanation.highest_parts for explanation in explanations)
        assert sgd["gradients"] == adam["gradients"] == adam["parameters"]
        assert sgd["optimizer_state"] == 0
        # two numbers each; the counts of steps stay on the CPU
        assert adam["optimizer_state"] == 2 * adam["parameters"]


@pytest.mark.parametrize(
    "setting",
    [
        "precision=amp-fp16",
        "activation_checkpointing=1",
        "optimizer_in_backward=true",
        "gradient_accumulation=2",
        "mode=inference",
        "channels_last=true",
        "allocator=expandable_segments:True",
    ],
)
def test_parts_add_up_for_each_way_to_train(client: WorkerClient, setting: str) -> None:
    explain(client, loaded("resnet18", setting, "batch_sizes=[8]"))


def test_run_out_of_memory_is_explained_up_to_its_end(client: WorkerClient) -> None:
    (sgd, adam) = explain(client, loaded("vit_b_16"), batch_size=1024)
    for explanation in (sgd, adam):
        assert (explanation.peak.phase, explanation.peak.step) == (Phase.FORWARD, 1)
        assert explanation.allocated_parts["activations"] > 0.9 * explanation.peak_allocated_bytes
        assert explanation.allocated_parts["optimizer_state"] == 0


def test_resnet50_has_its_workspaces_and_modules(client: WorkerClient) -> None:
    (explanation, _) = explain(client, loaded("resnet50"), batch_size=32)
    assert explanation.allocated_parts["parameters"] == 102_228_128
    assert explanation.named_parts["cuBLAS workspace"] == 32 * MIB
    own_bytes = 0 if torch_is_at_least(2, 14) else MIB  # torch 2.9 and 2.11 give cuBLASLt one MiB more
    assert explanation.named_parts["cuBLASLt workspace"] == 32 * MIB + own_bytes
    assert explanation.named_parts["cuDNN workspace of convolution_backward"] > 0
    assert explanation.peak.phase is Phase.BACKWARD
    assert explanation.modules[0].output_shapes == ((32, 1000),)
    assert {row.path: row.output_shapes for row in explanation.modules}["layer4.2"] == ((32, 2048, 7, 7),)
    assert sum(1 for block in explanation.blocks if block.line and "resnet.py" in block.line) > 100


def test_adam_has_state_and_temporaries(client: WorkerClient) -> None:
    (_, adam) = explain(client, loaded("cifar_mlp"))
    weights = adam.highest_parts["parameters"]
    assert adam.highest_parts["optimizer_state"] == pytest.approx(2 * weights, rel=0.001)
    assert adam.step_peaks[0].parts["optimizer_state"] in (0, adam.highest_parts["optimizer_state"])
    assert adam.highest_parts["temporary"] >= weights  # one foreach copy at least


def test_explained_point_has_its_record_and_reasons(phantom_device_h100: Device) -> None:
    config = loaded("mnist_mlp")
    with open_session(config, phantom_device_h100) as session:
        explained = explain_point(session, config.config.points()[0])
    assert explained.record.status is Status.OK
    assert explained.explanation is not None
    assert {row.name for row in explained.differences} >= {"parameters", "gradients", "activations", "workspace"}
    assert all(row.reason for row in explained.differences if row.difference_bytes)
    assert sum(row.bytes for row in explained.differences) == explained.explanation.peak_allocated_bytes
    memory_levels = explained.explanation.memory_levels
    assert [level.name for level in memory_levels] == ["requested", "allocated", "reserved", "device"]
    assert [level.added_name for level in memory_levels[2:]] == [CACHED, CONTEXT]


def test_cuda_malloc_async_is_an_error_of_one_line(phantom_device_h100: Device) -> None:
    config = loaded("mnist_mlp", "allocator=backend:cudaMallocAsync")
    with WorkerClient(config, phantom_device_h100) as client:
        optimizer, size = config.config.points()[0]
        outcome, explanation = client.explain(Job(optimizer=optimizer, batch_size=size))
    assert explanation is None
    assert outcome.status is Status.ERROR
    assert outcome.error is not None
    assert "history" in outcome.error


def test_snapshot_has_names_of_blocks(client: WorkerClient, tmp_path: Path) -> None:
    import pickle

    config = loaded("mnist_mlp")
    optimizer, size = config.config.points()[0]
    file = tmp_path / "snapshot.pickle"
    job = Job(config=config.config, optimizer=optimizer, batch_size=size)
    client.explain(replace(job), file)
    snapshot = pickle.loads(file.read_bytes())
    named = [e["user_metadata"] for e in snapshot["device_traces"][0] if e["action"] == "alloc"]
    assert "parameters: 1.weight" in named
    assert any(name.startswith("workspace: cuBLAS") for name in named)
    assert all(": " in name for name in named)


QUITS = """
import os, torch

class QuitsOnShapes(torch.nn.Linear):
    def forward(self, x):
        if not x.is_cuda or type(x) is not torch.Tensor:
            os._exit(3)
        return super().forward(x)

def build():
    return QuitsOnShapes(784, 10)
"""


def test_explained_point_without_a_breakdown_has_its_peak(tmp_path: Path, phantom_device_h100: Device) -> None:
    (tmp_path / "quits.py").write_text(QUITS)
    config = sample_loaded(tmp_path, model="quits.py:build", input={"shape": [784]}, batch_sizes=[8])
    with open_session(config, phantom_device_h100) as session:
        explained = explain_point(session, config.config.points()[0])
    assert (explained.record.status, explained.record.breakdown) == (Status.OK, None)
    assert explained.explanation is not None
    assert sum(row.bytes for row in explained.differences) == explained.explanation.peak_allocated_bytes
