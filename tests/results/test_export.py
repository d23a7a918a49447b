"""Exports are read back with each tool's own reader; the packages are the extra `export`."""

from __future__ import annotations

import csv
import importlib.util
import os
from pathlib import Path

import pytest

from memprof.errors import ConfigError, ResultError
from memprof.records import Status
from memprof.results import Result
from memprof.results.export import export
from tests.samples import sample_reading, sample_record, sample_result

PEAKS = {16: 3_000_000_000, 32: 5_000_000_001}
NAME = "memory/peak_allocated_bytes"


def needs(module: str, package: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(module) is None
    return pytest.mark.skipif(missing, reason=f"not installed: {package}; pip install -e '.[export]'")


@pytest.fixture
def result() -> Result:
    """Two rows that ran, and one that ran out of memory."""
    ran = [
        sample_record(batch_size=size, optimizer="adam", reading=sample_reading(peak_allocated_bytes=peak))
        for size, peak in PEAKS.items()
    ]
    return sample_result(
        *ran, sample_record(batch_size=64, optimizer="adam", status=Status.OOM, error="no", reading=None)
    )


def test_csv_has_every_row(result: Result, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    assert export(result, "csv", str(file)) == f"3 rows in {file}"
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert [row["status"] for row in rows] == ["ok", "ok", "oom"]
    assert int(rows[1]["peak_allocated_bytes"]) == PEAKS[32]
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("to", ["csv", "parquet"])
def test_existing_file_is_not_replaced(to: str, result: Result, tmp_path: Path) -> None:
    if to == "parquet":
        pytest.importorskip("pyarrow")
    file = tmp_path / "rows"
    file.write_text("mine")
    with pytest.raises(ResultError, match="exists already; name another file with --output"):
        export(result, to, str(file))
    assert file.read_text() == "mine"


@pytest.mark.parametrize("place", ["no/such/folder/rows.csv", "a\0b"])
def test_file_that_cannot_be_written_is_one_line(place: str, result: Result, tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="cannot be written: ") as refused:
        export(result, "csv", str(tmp_path / place))
    assert len(str(refused.value).splitlines()) == 1


def test_new_file_has_the_mode_of_the_user(result: Result, tmp_path: Path) -> None:
    umask = os.umask(0o027)
    try:
        export(result, "csv", str(tmp_path / "rows.csv"))
    finally:
        os.umask(umask)
    assert (tmp_path / "rows.csv").stat().st_mode & 0o777 == 0o640


def test_unknown_destination_is_refused_with_the_nearest(result: Result) -> None:
    with pytest.raises(ConfigError) as refused:
        export(result, "parket", None)
    known = "csv, parquet, wandb, mlflow, tensorboard"
    assert str(refused.value) == f"--to parket: write one of {known}; did you mean parquet?"


def test_missing_package_is_named(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigError) as refused:
        export(result, "mlflow", None)
    assert str(refused.value) == "--to mlflow needs the package mlflow-skinny; run: pip install mlflow-skinny"


@needs("pyarrow", "pyarrow")
def test_parquet_keeps_integers_and_unknown(result: Result, tmp_path: Path) -> None:
    import pandas

    export(result, "parquet", str(tmp_path / "rows.parquet"))
    table = pandas.read_parquet(tmp_path / "rows.parquet")
    assert table["peak_allocated_bytes"].dtype == "Int64"
    assert table["peak_allocated_bytes"].tolist()[:2] == list(PEAKS.values())
    assert table["peak_allocated_bytes"].isna().tolist() == [False, False, True]


@needs("tensorboard", "tensorboard")
def test_tensorboard_has_a_point_for_each_row_that_ran(result: Result, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    said = export(result, "tensorboard", str(tmp_path))
    assert said.startswith("2 rows (without 1 that did not run) in ")
    (file,) = tmp_path.glob("**/events.*")
    events = EventAccumulator(str(file.parent), size_guidance={"tensors": 0}).Reload()
    steps = [event.step for event in events.Tensors(NAME)]
    assert steps == list(PEAKS)
    with pytest.raises(ResultError, match="exists already; name another folder with --output"):
        export(result, "tensorboard", str(tmp_path))


@needs("mlflow", "mlflow-skinny")
def test_mlflow_has_the_peaks_and_the_source(result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(tmp_path.as_uri())
    export(result, "mlflow", "experiment")
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("experiment")
    (run,) = client.search_runs([experiment.experiment_id])
    found = client.get_metric_history(run.info.run_id, NAME)
    assert {metric.step: int(metric.value) for metric in found} == PEAKS
    assert run.data.params["source"] == result.manifest.environment.source.value


@needs("wandb", "wandb")
def test_wandb_keeps_the_run_offline(result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    assert export(result, "wandb", "mine") == "2 rows (without 1 that did not run) in the project mine of W&B"
    assert list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))
