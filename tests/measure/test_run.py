"""Whole runs on a phantom: their phases, and the allocator's counters in each."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

import pytest

from memprof.gpus.select import Device
from memprof.records import Outcome, Phase, PhaseReading, Reading, Status
from memprof.worker.protocol import reply_decoder
from tests.samples import TRAINING_PHASES

BATCH_SIZE = 64
# The tensors of mnist_mlp, each in multiples of 512 bytes, as the caching allocator allocates them.
PARAMETERS_BYTES = 784 * 128 * 4 + 512 + 128 * 10 * 4 + 512
BATCH_BYTES = BATCH_SIZE * 784 * 4 + BATCH_SIZE * 8
OOM_ELEMENTS = 2**38

RUNS = f"""
import os, sys
import torch
from memprof.config.schema import OptimizerConfig, SweepConfig
from memprof.measure.run import measure
from memprof.worker.protocol import MeasureReply, encode
from memprof.workload import build_model
from pathlib import Path

BASE = dict(name="x", model="mnist_mlp", input=dict(shape=[1, 28, 28]),
            target=dict(shape=[], dtype="int64", range=[0, 10]))
CASES = [dict(), dict(precision="fp64"), dict(precision="amp-fp16"), dict(mode="inference"), dict(steps=7),
         dict(model="fills"), dict(batch="replaced"), dict(batch="resident"), dict(gradient_accumulation=2),
         dict(model="grows"), dict(model="grows", most_steps=20), dict(model="grows", most_steps=6),
         dict(most_steps=20)]
ADAM = OptimizerConfig(name="adam")

class FillsInItsSecondStep(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(784, 10)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls == 2:
            torch.empty({OOM_ELEMENTS}, device=x.device)
        return self.linear(x.flatten(1))

class GrowsUntilItsSixthStep(FillsInItsSecondStep):
    def forward(self, x):
        self.calls += 1
        torch.empty(10 * min(self.calls, 6) << 30, dtype=torch.uint8, device=x.device)
        return self.linear(x.flatten(1))

OWN = dict(fills=FillsInItsSecondStep, grows=GrowsUntilItsSixthStep)

def run(number, case):
    own, most_steps = OWN.get(case.get("model")), case.pop("most_steps", 0)
    config = SweepConfig.model_validate({{**BASE, **case, "model": "mnist_mlp"}})
    model = own() if own else build_model(config, Path())
    optimizer = None if config.mode == "inference" else ADAM
    device = torch.device("cuda", 0)
    outcome = measure(model, config, optimizer, {BATCH_SIZE}, device, most_steps=most_steps)
    os.write(1, encode(MeasureReply(number=number, outcome=outcome)))

torch.set_num_threads(1)
torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
for number, case in enumerate(CASES):
    if os.fork() == 0:
        run(number, case)
        os._exit(0)
    os.wait()
"""


@pytest.fixture(scope="module")
def outcomes(phantom_device_h100: Device) -> Mapping[str, Outcome]:
    finished = subprocess.run(
        [sys.executable, "-c", RUNS],
        env={**os.environ, **phantom_device_h100.environment},
        capture_output=True,
        check=True,
        timeout=300,
    )
    names = (
        *("plain", "fp64", "amp-fp16", "inference", "seven steps", "fills", "replaced", "resident", "accumulating"),
        *("grows", "grows, at most 20", "grows, at most 6", "at most 20"),
    )
    decode = reply_decoder()
    return dict(zip(names, (decode(line).outcome for line in finished.stdout.splitlines()), strict=True))


def reading_of(outcome: Outcome) -> Reading:
    assert outcome.reading is not None
    return outcome.reading


def phase_of(outcome: Outcome, step: int, phase: Phase) -> PhaseReading:
    phases = reading_of(outcome).steps[step - 1].phases
    return next(reading for reading in phases if reading.phase is phase)


def test_measure_starts_with_parameters(outcomes: Mapping[str, Outcome]) -> None:
    first = phase_of(outcomes["plain"], 1, Phase.LOAD)
    assert first.allocated_before_bytes == PARAMETERS_BYTES
    assert first.allocated_after_bytes == PARAMETERS_BYTES + BATCH_BYTES


def test_measure_new_batch_is_next_to_previous(outcomes: Mapping[str, Outcome]) -> None:
    load = phase_of(outcomes["plain"], 2, Phase.LOAD)
    assert load.peak_allocated_bytes == load.allocated_before_bytes + BATCH_BYTES
    assert load.allocated_after_bytes == load.allocated_before_bytes


def test_measure_replaced_batch_is_freed_first(outcomes: Mapping[str, Outcome]) -> None:
    load = phase_of(outcomes["replaced"], 2, Phase.LOAD)
    assert load.peak_allocated_bytes == load.allocated_after_bytes == load.allocated_before_bytes


def test_measure_resident_batch_has_no_load_phase(outcomes: Mapping[str, Outcome]) -> None:
    phases = reading_of(outcomes["resident"]).steps[0].phases
    assert [reading.phase for reading in phases] == list(TRAINING_PHASES[1:])
    assert phases[0].allocated_before_bytes == PARAMETERS_BYTES + BATCH_BYTES


def test_measure_each_accumulated_pass_loads_a_batch(outcomes: Mapping[str, Outcome]) -> None:
    phases = [reading.phase for reading in reading_of(outcomes["accumulating"]).steps[0].phases]
    passes = [Phase.FORWARD, Phase.LOSS, Phase.BACKWARD]
    assert phases == [Phase.LOAD, Phase.ZERO_GRAD, *passes, Phase.LOAD, *passes, Phase.OPTIMIZER]


def test_measure_zero_grad_frees_gradients(outcomes: Mapping[str, Outcome]) -> None:
    assert (first := phase_of(outcomes["plain"], 1, Phase.ZERO_GRAD)).allocated_after_bytes == (
        first.allocated_before_bytes
    )
    second = phase_of(outcomes["plain"], 2, Phase.ZERO_GRAD)
    assert second.allocated_before_bytes - second.allocated_after_bytes == PARAMETERS_BYTES


def test_measure_first_adam_step_allocates_state(
    outcomes: Mapping[str, Outcome],
) -> None:
    first = phase_of(outcomes["plain"], 1, Phase.OPTIMIZER)
    assert first.allocated_after_bytes - first.allocated_before_bytes == 2 * PARAMETERS_BYTES
    second = phase_of(outcomes["plain"], 2, Phase.OPTIMIZER)
    assert second.allocated_after_bytes == second.allocated_before_bytes


def test_measure_fp64_doubles_weights(outcomes: Mapping[str, Outcome]) -> None:
    first = phase_of(outcomes["fp64"], 1, Phase.ZERO_GRAD)
    weights = 2 * 784 * 128 * 4 + 1024 + 2 * 128 * 10 * 4 + 512
    assert first.allocated_before_bytes == weights + 2 * (BATCH_BYTES - BATCH_SIZE * 8) + BATCH_SIZE * 8


def test_measure_inference_has_load_and_forward(outcomes: Mapping[str, Outcome]) -> None:
    steps = reading_of(outcomes["inference"]).steps
    assert [[reading.phase for reading in step.phases] for step in steps] == [[Phase.LOAD, Phase.FORWARD]] * 5
    assert steps[0].peak_allocated_bytes < reading_of(outcomes["plain"]).peak_allocated_bytes


def test_measure_amp_fp16_runs_all_phases(outcomes: Mapping[str, Outcome]) -> None:
    outcome = outcomes["amp-fp16"]
    assert outcome.status is Status.OK, outcome.error
    assert [reading.phase for reading in reading_of(outcome).steps[2].phases] == list(TRAINING_PHASES)
    # After a step there remain the output, in two bytes per value, and the scaler's scale and growth tracker.
    plain, output, half_output, scaler = outcomes["plain"], BATCH_SIZE * 10 * 4, 3 * 512, 2 * 512
    assert phase_of(outcome, 3, Phase.ZERO_GRAD).allocated_before_bytes == (
        phase_of(plain, 3, Phase.ZERO_GRAD).allocated_before_bytes - output + half_output + scaler
    )


def test_measure_more_steps_have_equal_peaks(outcomes: Mapping[str, Outcome]) -> None:
    reading = reading_of(outcomes["seven steps"])
    assert len(reading.steps) == 7
    assert len({step.peak_allocated_bytes for step in reading.steps[1:]}) == 1
    assert reading.peak_allocated_bytes == reading_of(outcomes["plain"]).peak_allocated_bytes


def test_measure_oom_in_second_step_keeps_first(outcomes: Mapping[str, Outcome]) -> None:
    outcome = outcomes["fills"]
    assert outcome.status is Status.OOM
    assert str(outcome.error).startswith("forward of step 2: CUDA out of memory. Tried to allocate 1024.00 GiB.")
    first, second = reading_of(outcome).steps
    assert [reading.phase for reading in first.phases] == list(TRAINING_PHASES)
    assert [reading.phase for reading in second.phases] == [Phase.LOAD, Phase.ZERO_GRAD, Phase.FORWARD]
    assert first.seconds is not None
    assert second.seconds is None


def test_measure_peaks_are_highest_of_phases(outcomes: Mapping[str, Outcome]) -> None:
    for name in ("plain", "fp64", "amp-fp16", "inference", "seven steps"):
        reading = reading_of(outcomes[name])
        phases = [phase for step in reading.steps for phase in step.phases]
        assert reading.peak_reserved_bytes == max(phase.peak_reserved_bytes for phase in phases)
        assert reading.peak_requested_bytes == max(phase.peak_requested_bytes for phase in phases)
        assert reading.nvml_used_bytes is not None
        assert reading.context_bytes is not None
        assert reading.nvml_used_bytes > reading.context_bytes > 0


@pytest.mark.parametrize(
    ("name", "steps"),
    # The steps 4 to 6 free the cache, the seventh is served from it.
    [("grows", 5), ("grows, at most 20", 7), ("grows, at most 6", 6), ("at most 20", 5)],
)
def test_steps_follow_until_one_does_not_free_the_cache(outcomes: Mapping[str, Outcome], name: str, steps: int) -> None:
    found = outcomes[name].reading
    assert found is not None
    assert len(found.steps) == steps
