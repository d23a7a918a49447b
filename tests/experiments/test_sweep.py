"""Which points a sweep has, in which order, and what its records carry."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from memprof.config.load import LoadedConfig
from memprof.config.schema import SweepConfig
from memprof.errors import WorkloadError
from memprof.experiments.sweep import Sweep, default_jobs, find_commit, open_sweep, point_name, run_sweep
from memprof.gpus.select import Device, choose_device
from memprof.records import Phase, RunRecord, Source, Status

MNIST_MLP = {
    "name": "mnist_mlp",
    "model": "mnist_mlp",
    "input": {"shape": [1, 28, 28]},
    "target": {"shape": [], "dtype": "int64", "range": [0, 10]},
    "optimizers": ["sgd", "adam"],
    "batch_sizes": [256, 64],
}
NO_GPU = Device(source=Source.ANALYTIC, name="none", index=0, environment={}, total_bytes=None, explanation="no GPU")


def load(folder: Path, **settings: object) -> LoadedConfig:
    config = SweepConfig.model_validate({**MNIST_MLP, **settings})
    return LoadedConfig(config=config, folder=folder, path=folder / "sweep.yaml")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, phantom_device_h100: Device) -> Iterator[Sweep]:
    with open_sweep(load(tmp_path_factory.mktemp("sweep")), phantom_device_h100) as sweep:
        yield sweep


@pytest.fixture(scope="module")
def records(sweep: Sweep) -> list[RunRecord]:
    return list(sweep.records())


def test_points_go_by_optimizer_and_then_by_rising_batch_size() -> None:
    config = SweepConfig.model_validate(MNIST_MLP)
    names = [point_name(point) for point in config.points()]
    assert names == [("sgd", 64), ("sgd", 256), ("adam", 64), ("adam", 256)]


def test_inference_runs_each_batch_size_once_without_an_optimizer() -> None:
    config = SweepConfig.model_validate({**MNIST_MLP, "mode": "inference"})
    assert [point_name(point) for point in config.points()] == [(None, 64), (None, 256)]


def test_a_point_is_named_by_the_label_of_its_optimizer() -> None:
    optimizers = [{"name": "sgd", "label": "heavy", "kwargs": {"momentum": 0.9}}]
    config = SweepConfig.model_validate({**MNIST_MLP, "optimizers": optimizers, "batch_sizes": [1]})
    assert [point_name(point) for point in config.points()] == [("heavy", 1)]


def test_a_real_gpu_runs_one_point_at_a_time() -> None:
    assert default_jobs(Source.MEASURED) == 1


def test_every_record_has_its_breakdown_reading_and_circumstances(records: list[RunRecord]) -> None:
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


def test_the_optimizers_state_is_there_from_the_end_of_the_first_step_on(records: list[RunRecord]) -> None:
    sgd, adam = (r.reading for r in records if r.batch_size == 64)
    assert sgd is not None
    assert adam is not None
    # The state is made by the first step's last phase; where a small model peaks there, so does its first step.
    assert [p.peak_allocated_bytes for p in sgd.steps[0].phases if p.phase is not Phase.OPTIMIZER] == [
        p.peak_allocated_bytes for p in adam.steps[0].phases if p.phase is not Phase.OPTIMIZER
    ]
    # Two values for each of 101,770 parameters; each tensor takes a multiple of 512 bytes.
    sgd_kept, adam_kept = (r.steps[-1].phases[0].allocated_before_bytes for r in (sgd, adam))
    assert 814_160 <= adam_kept - sgd_kept <= 814_160 + 8 * 1024


def test_the_phases_of_a_step_follow_each_other_without_a_gap(records: list[RunRecord]) -> None:
    reading = records[-1].reading
    assert reading is not None
    phases = [phase for step in reading.steps for phase in step.phases]
    assert [phase.phase for phase in phases] == list(Phase) * 3
    for before, after in pairwise(phases):
        assert before.allocated_after_bytes == after.allocated_before_bytes
    assert reading.peak_allocated_bytes == max(phase.peak_allocated_bytes for phase in phases)
    assert reading.peak_requested_bytes <= reading.peak_allocated_bytes <= reading.peak_reserved_bytes


def test_nvml_and_the_context_agree_with_what_is_reserved(records: list[RunRecord]) -> None:
    for record in records:
        reading = record.reading
        assert reading is not None
        assert reading.nvml_used_bytes is not None
        assert reading.context_bytes is not None
        assert reading.nvml_used_bytes == reading.context_bytes + reading.peak_reserved_bytes


def test_points_that_are_done_are_left_out(sweep: Sweep) -> None:
    done = {("sgd", 64), ("sgd", 256), ("adam", 64)}
    assert [(r.optimizer, r.batch_size) for r in sweep.records(done)] == [("adam", 256)]


def test_a_sweep_whose_points_are_all_done_has_no_records(sweep: Sweep) -> None:
    assert list(sweep.records({point_name(point) for point in load(Path()).config.points()})) == []


def test_without_any_gpu_the_breakdown_comes_alone(tmp_path: Path) -> None:
    (only,) = run_sweep(load(tmp_path, batch_sizes=[64], optimizers=["sgd"]), NO_GPU)
    assert (only.source, only.status, only.reading) == (Source.ANALYTIC, Status.OK, None)
    assert only.environment.gpu is None
    assert only.breakdown is not None
    assert only.breakdown.parameters_bytes == 407_080


def test_input_that_does_not_fit_the_model_is_refused_before_the_first_record(tmp_path: Path) -> None:
    records = run_sweep(load(tmp_path, input={"shape": [1, 27, 27]}), NO_GPU)
    with pytest.raises(WorkloadError):
        next(records)


@pytest.mark.gpu
def test_a_real_gpu_is_measured_with_the_seconds_of_its_steps(tmp_path: Path) -> None:
    (only,) = run_sweep(load(tmp_path, batch_sizes=[64], optimizers=["adam"]), choose_device("cuda:0"))
    assert (only.source, only.status) == (Source.MEASURED, Status.OK), only.error
    assert only.reading is not None
    assert only.reading.seconds_per_step is not None
    assert 0 < only.reading.seconds_per_step < 10
    assert only.environment.driver_version
    assert only.reading.context_bytes is None or only.reading.context_bytes > 50 * 2**20


def test_the_commit_is_that_of_the_configs_folder(tmp_path: Path) -> None:
    assert find_commit(tmp_path) is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    assert find_commit(tmp_path) is None
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout
    assert find_commit(tmp_path) == head.strip()


def test_the_process_that_sweeps_does_not_import_torch() -> None:
    code = "import sys, memprof.experiments.sweep; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
