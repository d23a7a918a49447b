"""Each setting on a phantom: it changes the memory that it is known to change, and no other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from memprof.gpus.select import Device
from memprof.records import Outcome, Phase, PhaseReading, Reading, Status
from memprof.worker.protocol import reply_decoder
from tests.conftest import torch_is_at_least

# The tensors of mnist_mlp, each in multiples of 512 bytes, as the caching allocator allocates them.
PARAMETERS_BYTES = 784 * 128 * 4 + 512 + 128 * 10 * 4 + 512
RESNET = {"model": "torchvision:resnet18", "input": {"shape": [3, 64, 64]}}
ADAM = {"optimizers": ["adam"]}
CASES: Mapping[str, dict[str, Any]] = {
    "plain": {},
    "three passes": {"gradient_accumulation": 3},
    "zeros": {"set_to_none": False},
    "in backward": {"optimizer_in_backward": True},
    "adam": ADAM,
    "adam in backward": {**ADAM, "optimizer_in_backward": True},
    "fused": {"optimizers": [{"name": "adam", "kwargs": {"fused": True}}]},
    "capturable": {"optimizers": [{"name": "adam", "kwargs": {"capturable": True}}]},
    "one by one": {"optimizers": [{"name": "adam", "kwargs": {"foreach": False}}]},
    "accumulated with a scaler": {"gradient_accumulation": 2, "precision": "amp-fp16"},
    "resnet": RESNET,
    "every block": {**RESNET, "activation_checkpointing": 1},
    "every second block": {**RESNET, "activation_checkpointing": 2},
    "compiled": {"compile": True},
    "8 bits": {"optimizers": ["bitsandbytes:AdamW8bit"]},
}
RUNS = """
import json, os, sys
import torch
from pathlib import Path
from memprof.config.schema import SweepConfig
from memprof.measure.run import measure
from memprof.worker.protocol import MeasureReply, encode
from memprof.workload import build_model

BASE = dict(name="x", model="mnist_mlp", input=dict(shape=[1, 28, 28]), optimizers=["sgd"],
            target=dict(shape=[], dtype="int64", range=[0, 10]))

def run(case):
    config = SweepConfig.model_validate({**BASE, **case})
    model = build_model(config, Path())
    outcome = measure(model, config, config.optimizers[0], 64, torch.device("cuda", 0))
    os.write(1, encode(MeasureReply(number=1, outcome=outcome)))

torch.set_num_threads(1)
torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
for line in sys.stdin:
    if os.fork() == 0:
        run(json.loads(line))
        os._exit(0)
    os.wait()
"""


def measured(device: Device, folder: Path, *names: str) -> dict[str, Outcome]:
    finished = subprocess.run(
        [sys.executable, "-c", RUNS],
        env={**os.environ, **device.environment, "TORCHINDUCTOR_CACHE_DIR": str(folder)},
        input="\n".join(json.dumps(CASES[name]) for name in names).encode(),
        capture_output=True,
        check=True,
        timeout=300,
    )
    decode = reply_decoder()
    return dict(zip(names, (decode(line).outcome for line in finished.stdout.splitlines()), strict=True))


@pytest.fixture(scope="module")
def outcomes(phantom_device_h100: Device, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Outcome]:
    quick = [name for name in CASES if name not in ("compiled", "8 bits")]
    return measured(phantom_device_h100, tmp_path_factory.mktemp("inductor"), *quick)


def reading_of(outcome: Outcome) -> Reading:
    assert outcome.status is Status.OK, outcome.error
    assert outcome.reading is not None
    return outcome.reading


def last_step(outcome: Outcome, phase: Phase) -> list[PhaseReading]:
    return [reading for reading in reading_of(outcome).steps[-1].phases if reading.phase is phase]


def test_settings_phases_are_in_order_and_contiguous(
    outcomes: Mapping[str, Outcome],
) -> None:
    once = [Phase.FORWARD, Phase.LOSS, Phase.BACKWARD]
    passes = {"three passes": 3, "accumulated with a scaler": 2}
    for name, outcome in outcomes.items():
        more = [Phase.LOAD, *once] * (passes.get(name, 1) - 1)
        expected = [Phase.LOAD, Phase.ZERO_GRAD, *once, *more, Phase.OPTIMIZER]
        for step in reading_of(outcome).steps:
            assert [reading.phase for reading in step.phases] == expected
            for before, after in pairwise(step.phases):
                assert before.peak_allocated_bytes >= before.allocated_after_bytes
                if name != "accumulated with a scaler":  # leaving autocast frees the cast weights between phases
                    assert after.allocated_before_bytes == before.allocated_after_bytes


def test_accumulation_keeps_gradients_from_second_pass(outcomes: Mapping[str, Outcome]) -> None:
    first, second, third = last_step(outcomes["three passes"], Phase.FORWARD)
    assert second.allocated_before_bytes - first.allocated_before_bytes == PARAMETERS_BYTES
    assert third.allocated_before_bytes == second.allocated_before_bytes
    assert (
        reading_of(outcomes["three passes"]).peak_allocated_bytes > reading_of(outcomes["plain"]).peak_allocated_bytes
    )


def test_set_to_none_false_keeps_gradients_in_forward(outcomes: Mapping[str, Outcome]) -> None:
    (zero_grad,) = last_step(outcomes["zeros"], Phase.ZERO_GRAD)
    assert zero_grad.allocated_after_bytes == zero_grad.allocated_before_bytes
    (kept,), (freed,) = (last_step(outcomes[name], Phase.FORWARD) for name in ("zeros", "plain"))
    assert kept.allocated_before_bytes - freed.allocated_before_bytes == PARAMETERS_BYTES


@pytest.mark.parametrize(("name", "usual"), [("in backward", "plain"), ("adam in backward", "adam")])
def test_optimizer_in_backward_frees_gradients(outcomes: Mapping[str, Outcome], name: str, usual: str) -> None:
    (inside,), (after,) = (last_step(outcomes[key], Phase.BACKWARD) for key in (name, usual))
    assert after.allocated_after_bytes - inside.allocated_after_bytes == PARAMETERS_BYTES
    assert reading_of(outcomes[name]).peak_allocated_bytes <= reading_of(outcomes[usual]).peak_allocated_bytes
    (step,) = last_step(outcomes[name], Phase.OPTIMIZER)
    assert step.peak_allocated_bytes == step.allocated_before_bytes


def test_optimizer_kwargs_select_kernels(
    outcomes: Mapping[str, Outcome],
) -> None:
    names = ("adam", "one by one", "fused", "capturable")
    plain, one_by_one, fused, capturable = (last_step(outcomes[name], Phase.OPTIMIZER)[0] for name in names)
    steps_on_the_device_bytes = 4 * 512  # one number per parameter
    assert one_by_one.allocated_after_bytes == plain.allocated_after_bytes
    assert fused.allocated_after_bytes - plain.allocated_after_bytes == steps_on_the_device_bytes
    assert capturable.allocated_after_bytes - plain.allocated_after_bytes == steps_on_the_device_bytes
    assert fused.peak_allocated_bytes == fused.allocated_after_bytes  # one kernel, no temporaries
    assert plain.peak_allocated_bytes > plain.allocated_after_bytes


def test_checkpointing_more_blocks_keeps_less(outcomes: Mapping[str, Outcome]) -> None:
    names = ("every block", "every second block", "resnet")
    kept = [last_step(outcomes[name], Phase.FORWARD)[0].allocated_after_bytes for name in names]
    assert kept[0] < kept[1] < kept[2]
    peaks = [reading_of(outcomes[name]).peak_allocated_bytes for name in names]
    assert max(peaks[:2]) < peaks[2]
    if torch_is_at_least(2, 12):  # with cuDNN 9.19 and older, a workspace makes the peak
        assert peaks[0] < peaks[1]


def test_compile_does_not_count_compilation(
    outcomes: Mapping[str, Outcome], phantom_device_h100: Device, tmp_path: Path
) -> None:
    reading = reading_of(measured(phantom_device_h100, tmp_path, "compiled")["compiled"])
    plain = reading_of(outcomes["plain"])
    assert [phase.phase for phase in reading.steps[0].phases] == [phase.phase for phase in plain.steps[0].phases]
    # As before any first step: no gradients and no cuBLAS workspaces.
    assert reading.steps[0].phases[0].allocated_before_bytes == plain.steps[0].phases[0].allocated_before_bytes
    # A cold cache makes Inductor benchmark kernels, in buffers as large as the GPU's level 2 cache.
    assert abs(reading.peak_allocated_bytes - plain.peak_allocated_bytes) < 64 * 128 * 4


def test_optimizer_8_bit_keeps_a_quarter(
    outcomes: Mapping[str, Outcome], phantom_device_h100: Device, tmp_path: Path
) -> None:
    pytest.importorskip("bitsandbytes")
    outcome = measured(phantom_device_h100, tmp_path, "8 bits")["8 bits"]
    states = [
        last_step(found, Phase.OPTIMIZER)[0].allocated_after_bytes
        - last_step(outcomes["plain"], Phase.OPTIMIZER)[0].allocated_after_bytes
        for found in (outcome, outcomes["adam"])
    ]
    assert states[1] == 2 * PARAMETERS_BYTES
    assert 0.2 < states[0] / states[1] < 0.3
