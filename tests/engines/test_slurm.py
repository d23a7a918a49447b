"""A sweep in submitit's jobs on this machine: results as they come, jobs that are cancelled, and nothing left."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from memprof.engines import slurm_engine
from memprof.engines.slurm_chunk import LineReader
from memprof.errors import ExitCode
from memprof.gpus.select import Device
from tests.cli.conftest import Memprof, one_line, write_slow_config
from tests.paths import ROOT
from tests.worker.processes import is_alive, wait_for

LOCAL = ("--engine", "slurm", "--address", "local")
needs_submitit = pytest.mark.skipif(
    importlib.util.find_spec("submitit") is None, reason="not installed: submitit; pip install -e '.[slurm]'"
)


def jobs_in(results: Path) -> list[int]:
    """Return the process ids of submitit's jobs, the latest last."""
    files = sorted(results.glob(".slurm-*/jobs/*_submitted.pkl"), key=lambda file: file.stat().st_mtime)
    return [int(file.name.partition("_")[0]) for file in files]


def rows_in(results: Path) -> list[dict[str, object]]:
    return [json.loads(line) for file in results.glob("*/*/records.jsonl") for line in file.read_text().splitlines()]


@needs_submitit
def test_slurm_sweep_equals_the_local_one(memprof: Memprof, phantom_device_h100: Device, tmp_path: Path) -> None:
    options = ["--gpu", phantom_device_h100.name, "--batch-size", "1,64", "--json"]
    command = ["sweep", "configs/mnist_cnn.yaml", "configs/own_model.yaml", *options]
    local = memprof(*command, "--output-dir", str(tmp_path / "local"))
    jobs = memprof(*command, *LOCAL, "--runners", "2", "--output-dir", str(tmp_path / "jobs"))
    assert (local.returncode, jobs.returncode) == (ExitCode.OK, ExitCode.OK), jobs.stderr
    assert json.loads(jobs.stdout) == json.loads(local.stdout)
    assert list((tmp_path / "jobs").glob(".*")) == []


@needs_submitit
def test_slurm_job_cancelled_twice_leaves_error_rows(phantom_device_h100: Device, tmp_path: Path) -> None:
    config, results = write_slow_config(tmp_path, "1, 2, 3, 4, 5, 6"), tmp_path / "results"
    options = ["--gpu", phantom_device_h100.name, *LOCAL, "--runners", "1", "--output-dir", str(results), "--json"]
    with started(["sweep", str(config), *options]) as running:
        wait_for(lambda: len(rows_in(results)) == 1)
        os.kill(jobs_in(results)[-1], signal.SIGKILL)
        wait_for(lambda: len(jobs_in(results)) == 3 and len(rows_in(results)) > 2)  # of the description and two chunks
        os.kill(jobs_in(results)[-1], signal.SIGKILL)
        out, err = running.communicate(timeout=120)
    assert running.returncode == ExitCode.FAILED_ROWS, err
    assert " are asked for again: " in err
    rows = json.loads(out)["rows"]
    assert [row["batch_size"] for row in rows] == [1, 2, 3, 4, 5, 6]
    statuses = [row["status"] for row in rows]
    assert statuses == ["ok"] * statuses.count("ok") + ["error"] * statuses.count("error")
    assert statuses.count("ok") >= 3
    assert rows[-1]["error"].startswith("its job ended twice: ")


@needs_submitit
def test_slurm_sweep_interrupted_leaves_no_jobs(phantom_device_h100: Device, tmp_path: Path) -> None:
    config, results = write_slow_config(tmp_path, "1, 2, 3, 4, 5, 6, 7, 8"), tmp_path / "results"
    command = ["sweep", str(config), "--gpu", phantom_device_h100.name, *LOCAL, "--output-dir", str(results)]
    with started([*command, "--runners", "1"]) as running:
        wait_for(lambda: len(rows_in(results)) >= 2)
        jobs = jobs_in(results)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
    assert running.returncode == ExitCode.INTERRUPTED, err
    assert f"{len(rows_in(results))} of 8 points are saved in " in err.splitlines()[-1]
    assert "Traceback" not in err
    assert list(results.glob(".slurm-*")) == []
    assert len(jobs) == 2  # of the description, and of the chunk
    wait_for(lambda: not any(is_alive(job) for job in jobs))


def started(arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "memprof", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT / "profiler")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@needs_submitit
def test_slurm_without_sbatch_is_one_line(
    call: Memprof, phantom_device_h100: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}")
    options = ["--gpu", phantom_device_h100.name, "--engine", "slurm", "--output-dir", str(tmp_path / "results")]
    line = one_line(call("sweep", "configs/mnist_mlp.yaml", *options), ExitCode.DEVICE)
    assert line == "memprof: --engine slurm: there is no sbatch here; run memprof on a login node of the cluster"
    assert not (tmp_path / "results").exists()


def test_slurm_missing_package_is_one_line(
    call: Memprof, phantom_device_h100: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_engine, "find_spec", lambda _: None)
    options = ["--gpu", phantom_device_h100.name, *LOCAL, "--output-dir", str(tmp_path)]
    line = one_line(call("sweep", "configs/mnist_mlp.yaml", *options), ExitCode.CONFIG)
    assert line == "memprof: --engine slurm needs the package submitit; run: pip install 'memprof-gpu[slurm]'"


def test_slurm_search_is_refused(call: Memprof, tmp_path: Path) -> None:
    options = ["--gpu", "t4", *LOCAL, "--output-dir", str(tmp_path)]
    line = one_line(call("max-batch", "configs/mnist_mlp.yaml", *options), ExitCode.CONFIG)
    assert line.startswith("memprof: --engine slurm: a search tries one batch after another")


def test_line_reader_leaves_half_a_line(tmp_path: Path) -> None:
    file = tmp_path / "chunk.jsonl"
    reader = LineReader(file)
    assert list(reader.new_lines()) == []
    file.write_text('{"node": "one", "index": 0}\n{"node": "tw')
    assert [line.node for line in reader.new_lines()] == ["one"]
    with file.open("a") as more:
        more.write('o", "index": 1}\n')
    assert [(line.node, line.index) for line in reader.new_lines()] == [("two", 1)]
