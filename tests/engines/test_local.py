"""The engine of this machine: results by index, and the configs of several folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from memprof.config.load import LoadedConfig, load
from memprof.engines.protocol import Task, in_order
from memprof.experiments.session import open_session
from memprof.experiments.sweep import Sweep, environment_of, records_of_sweeps, sweep_points
from memprof.gpus.select import Device
from memprof.records import RunRecord, Status
from memprof.worker.protocol import Job
from tests.samples import sample_loaded

WIDTHS = (64, 4096)


def write_model(folder: Path, width: int) -> LoadedConfig:
    """Write a config whose model imports a file next to it; the names are the same in each folder."""
    folder.mkdir()
    (folder / "width.py").write_text(f"WIDTH = {width}\n")
    (folder / "net.py").write_text("import torch, width\ndef build(): return torch.nn.Linear(width.WIDTH, 16)\n")
    (folder / "net.yaml").write_text(
        f"model: net.py:build\ninput: {{shape: [{width}]}}\nloss: sum\noptimizers: [sgd]\nbatch_sizes: [8]\n"
    )
    return load(folder / "net.yaml")


def parameters_bytes(record: RunRecord) -> int:
    assert record.status is Status.OK, record.error
    assert record.breakdown is not None
    return record.breakdown.parameters_bytes


def test_sweeps_of_two_folders_have_their_own_models(tmp_path: Path, phantom_device_h100: Device) -> None:
    loaded = [write_model(tmp_path / str(width), width) for width in WIDTHS]
    with open_session(loaded[0], phantom_device_h100) as session:
        sweeps = [Sweep(loaded=one, points=sweep_points(one.config)) for one in loaded]
        found = list(records_of_sweeps(session, sweeps))
    assert [index for index, _ in found] == [0, 1]
    assert [parameters_bytes(record) for _, record in found] == [4 * (width * 16 + 16) for width in WIDTHS]


def test_sweep_of_another_gpu_has_its_environment(tmp_path: Path, phantom_device_h100: Device) -> None:
    own = sample_loaded(tmp_path, batch_sizes=[64], optimizers=["sgd"])
    other = replace(own, config=own.config.model_copy(update={"gpu": "t4", "allocator": "backend:native"}))
    with open_session(own, phantom_device_h100) as session:
        sweeps = [Sweep(loaded=one, points=sweep_points(one.config)) for one in (own, other)]
        (_, first), (_, second) = records_of_sweeps(session, sweeps)
        assert second.environment == environment_of(session, other)
    assert [one.environment.gpu for one in (first, second)] == ["h100-80gb", "t4"]
    assert second.environment.allocator_settings == "backend:native"
    assert first.reading is not None
    assert second.reading is not None
    assert first.reading.context_bytes != second.reading.context_bytes  # each GPU has a context of its own size


def test_engine_measures_a_point_as_the_worker_does(tmp_path: Path, phantom_device_h100: Device) -> None:
    loaded = sample_loaded(tmp_path)
    job = Job(optimizer=loaded.config.optimizers[0], batch_size=64)
    with open_session(loaded, phantom_device_h100) as session:
        ((index, result),) = session.engine.results([Task(job=job)])
        (outcome,) = session.client.outcomes([job], 1)
    assert (index, result.breakdown, result.outcome) == (0, None, outcome)
    assert result.seconds > 0


def test_in_order_sorts_what_comes_in_any_order() -> None:
    assert list(in_order([(2, "c"), (0, "a"), (1, "b"), (3, "d")])) == ["a", "b", "c", "d"]
