"""The points of a sweep, their order, and what their records have."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from memprof.config.schema import SweepConfig
from memprof.engines.local import default_jobs
from memprof.errors import WorkloadError
from memprof.experiments.session import Session, open_session
from memprof.experiments.sweep import sweep_points, sweep_records
from memprof.gpus.select import Device, choose_device
from memprof.gpus.traits import default_traits
from memprof.records import Phase, RunRecord, Source, Status
from memprof.results import RowName
from tests.samples import TRAINING_PHASES, sample_config, sample_loaded

NO_GPU = Device(
    source=Source.ANALYTIC,
    name="none",
    index=0,
    environment={},
    total_bytes=None,
    traits=default_traits(),
    explanation="no GPU",
)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory, phantom_device_h100: Device) -> Iterator[Session]:
    with open_session(sample_loaded(tmp_path_factory.mktemp("sweep")), phantom_device_h100) as session:
        yield session


@pytest.fixture(scope="module")
def records(session: Session) -> list[RunRecord]:
    return list(sweep_records(session))


def names_of(config: SweepConfig) -> list[tuple[str | None, int]]:
    """Return the optimizer and the batch size of each row."""
    return [(point.name.optimizer, point.name.batch_size) for point in sweep_points(config)]


def sweep(device: Device, folder: Path, **changes: object) -> list[RunRecord]:
    """Return the records of a whole sweep in a session of its own."""
    with open_session(sample_loaded(folder, **changes), device) as session:
        return list(sweep_records(session))


def test_points_are_ordered_by_optimizer_and_batch_size() -> None:
    assert names_of(sample_config()) == [("sgd", 64), ("sgd", 256), ("adam", 64), ("adam", 256)]


def test_inference_points_have_no_optimizer() -> None:
    assert names_of(sample_config(mode="inference")) == [(None, 64), (None, 256)]


def test_point_name_has_the_label_of_the_optimizer() -> None:
    optimizers = [{"name": "sgd", "label": "heavy", "kwargs": {"momentum": 0.9}}]
    assert names_of(sample_config(optimizers=optimizers, batch_sizes=[1])) == [("heavy", 1)]


def test_each_rank_is_a_row_of_its_point() -> None:
    config = sample_config(optimizers=["sgd"], batch_sizes=[8, 16], parallel={"mesh": {"pipeline": 2, "shard": 2}})
    points = sweep_points(config)
    assert [(point.name.batch_size, point.name.rank) for point in points] == [(8, 0), (8, 2), (16, 0), (16, 2)]
    assert [point.job.config for point in points] == [point.config for point in points]


def test_default_jobs_on_a_real_gpu_is_one() -> None:
    assert default_jobs(Source.MEASURED) == 1


def test_record_has_breakdown_reading_and_environment(records: list[RunRecord]) -> None:
    assert [(r.optimizer, r.batch_size) for r in records] == [
        ("sgd", 64),
        ("sgd", 256),
        ("adam", 64),
        ("adam", 256),
    ]
    assert {(r.status, r.source, r.error) for r in records} == {(Status.OK, Source.EMULATED, None)}
    assert len({r.environment for r in records}) == 1
    states = [r.breakdown.optimizer_state_bytes for r in records if r.breakdown is not None]
    assert states == [0, 0, 814_160, 814_160]


def test_optimizer_state_exists_after_the_first_step(records: list[RunRecord]) -> None:
    sgd, adam = (r.reading for r in records if r.batch_size == 64)
    assert sgd is not None
    assert adam is not None
    # The last phase of the first step allocates the state, so a small model may have its peak there.
    assert [p.peak_allocated_bytes for p in sgd.steps[0].phases if p.phase is not Phase.OPTIMIZER] == [
        p.peak_allocated_bytes for p in adam.steps[0].phases if p.phase is not Phase.OPTIMIZER
    ]
    # Two values for each of 101,770 parameters; each tensor takes a multiple of 512 bytes.
    sgd_kept, adam_kept = (r.steps[-1].phases[0].allocated_before_bytes for r in (sgd, adam))
    assert 814_160 <= adam_kept - sgd_kept <= 814_160 + 8 * 1024


def test_phases_of_a_step_follow_without_a_gap(records: list[RunRecord]) -> None:
    reading = records[-1].reading
    assert reading is not None
    phases = [phase for step in reading.steps for phase in step.phases]
    assert [phase.phase for phase in phases] == list(TRAINING_PHASES) * 5
    for before, after in pairwise(phases):
        assert before.allocated_after_bytes == after.allocated_before_bytes
    assert reading.peak_allocated_bytes == max(phase.peak_allocated_bytes for phase in phases)
    assert reading.peak_requested_bytes <= reading.peak_allocated_bytes <= reading.peak_reserved_bytes


def test_nvml_is_the_sum_of_context_and_reserved(records: list[RunRecord]) -> None:
    for record in records:
        reading = record.reading
        assert reading is not None
        assert reading.nvml_used_bytes is not None
        assert reading.context_bytes is not None
        assert reading.nvml_used_bytes == reading.context_bytes + reading.peak_reserved_bytes


def test_sweep_leaves_out_the_points_that_are_done(session: Session) -> None:
    done = {RowName("sgd", 64), RowName("sgd", 256), RowName("adam", 64)}
    assert [(r.optimizer, r.batch_size) for r in sweep_records(session, done)] == [("adam", 256)]


def test_sweep_whose_points_are_all_done_has_no_records(session: Session) -> None:
    assert list(sweep_records(session, {point.name for point in sweep_points(sample_config())})) == []


def test_sweep_without_a_gpu_has_only_breakdowns(tmp_path: Path) -> None:
    (only,) = sweep(NO_GPU, tmp_path, batch_sizes=[64], optimizers=["sgd"])
    assert (only.source, only.status, only.reading) == (Source.ANALYTIC, Status.OK, None)
    assert only.environment.gpu is None
    assert only.breakdown is not None
    assert only.breakdown.parameters_bytes == 407_080


def test_sweep_with_wrong_input_fails_before_a_record(tmp_path: Path) -> None:
    with (
        open_session(sample_loaded(tmp_path, input={"shape": [1, 27, 27]}), NO_GPU) as session,
        pytest.raises(WorkloadError),
    ):
        next(sweep_records(session))


QUITS = """
import json, os, torch

class Quit(torch.optim.SGD):
    def __init__(self, parameters):
        os._exit(3)

def build():
    json.dumps = None
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
"""
QUIT_REASON = "the process exited with status 3 before it had a result"


@pytest.mark.parametrize("analytic", [False, True])
def test_sweep_with_a_point_that_quits_has_all_rows(
    analytic: bool, tmp_path: Path, phantom_device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "quits.py").write_text(QUITS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("MEMPROF_FORK_SERVER", "off")  # one for this folder would be used only here
    settings = {"model": "quits.py:build", "optimizers": ["sgd", "quits:Quit", "adam"], "batch_sizes": [8]}
    sgd, quitting, adam = sweep(NO_GPU if analytic else phantom_device, tmp_path, **settings)
    assert (quitting.status, quitting.error, quitting.breakdown) == (Status.ERROR, QUIT_REASON, None)
    for record in (sgd, adam):
        assert (record.status, record.error) == (Status.OK, None)
        assert record.breakdown is not None
        assert (record.reading is None) == analytic


HANGS = """
import time, torch

class Hangs(torch.nn.Linear):
    def forward(self, x):
        time.sleep(1000)

def build():
    return Hangs(784, 10)
"""


def test_sweep_whose_estimate_hangs_fails_at_the_limit(tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text(HANGS)
    settings = {"model": "hangs.py:build", "input": {"shape": [784]}, "timeout_seconds": 2}
    with pytest.raises(WorkloadError, match=r"before its first point: not done after 2 s"):
        sweep(NO_GPU, tmp_path, **settings)


@pytest.mark.gpu
def test_sweep_on_a_real_gpu_measures_the_seconds_of_steps(tmp_path: Path) -> None:
    (only,) = sweep(choose_device("cuda:0"), tmp_path, batch_sizes=[64], optimizers=["adam"])
    assert (only.source, only.status) == (Source.MEASURED, Status.OK), only.error
    assert only.reading is not None
    assert only.reading.seconds_per_step is not None
    assert 0 < only.reading.seconds_per_step < 10
    assert only.environment.driver_version
    assert only.reading.context_bytes is None or only.reading.context_bytes > 50 * 2**20


def test_import_of_sweep_does_not_import_torch() -> None:
    code = "import sys, memprof.experiments.sweep; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
